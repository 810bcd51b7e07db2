"""What the resources of Azure Monitor consist of, by the API versions that are accepted here.

Source: Azure's REST reference and templates of each type; what the service under test has no use
for is left out, and so refused.
"""

from __future__ import annotations

from ..shape import NUMBER

TAGS = {"*": str}
EMAIL_RECEIVER = {"name": str, "emailAddress": str, "useCommonAlertSchema?": bool}

ACTION_GROUP = {
    "location": str,
    "tags?": TAGS,
    "properties": {
        "groupShortName": str,
        "enabled": bool,
        "emailReceivers?": [EMAIL_RECEIVER],
    },
}

METRIC_CRITERION = {
    "criterionType": str,
    "name": str,
    "metricNamespace?": str,
    "metricName": str,
    "operator": str,
    "threshold": NUMBER,
    "timeAggregation": str,
    "skipMetricValidation?": bool,
}
CRITERIA = {
    "Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria": {
        "odata.type": str,
        "allOf": [METRIC_CRITERION],
    },
    "Microsoft.Azure.Monitor.WebtestLocationAvailabilityCriteria": {
        "odata.type": str,
        "webTestId": str,
        "componentId": str,
        "failedLocationCount": NUMBER,
    },
}
METRIC_ALERT = {
    "location": str,
    "tags?": TAGS,
    "properties": {
        "description?": str,
        "severity": int,
        "enabled": bool,
        "scopes": [str],
        "evaluationFrequency": str,
        "windowSize": str,
        "criteria": {"*": object},
        "autoMitigate?": bool,
        "actions?": [{"actionGroupId": str}],
    },
}

LOG_CONDITION = {
    "query": str,
    "timeAggregation": str,
    "metricMeasureColumn?": str,
    "operator": str,
    "threshold": NUMBER,
    "failingPeriods?": {"numberOfEvaluationPeriods": int, "minFailingPeriodsToAlert": int},
}
LOG_RULE = {
    "location": str,
    "kind?": str,
    "tags?": TAGS,
    "properties": {
        "displayName?": str,
        "description?": str,
        "severity": int,
        "enabled": bool,
        "scopes": [str],
        "evaluationFrequency": str,
        "windowSize": str,
        "criteria": {"allOf": [LOG_CONDITION]},
        "autoMitigate?": bool,
        "skipQueryValidation?": bool,
        "actions?": {"actionGroups?": [str]},
    },
}

WEB_TEST = {
    "location": str,
    "kind?": str,
    "tags": TAGS,
    "properties": {
        "SyntheticMonitorId": str,
        "Name": str,
        "Description?": str,
        "Enabled?": bool,
        "Frequency?": int,
        "Timeout?": int,
        "Kind": str,
        "RetryEnabled?": bool,
        "Locations": [{"Id": str}],
        "Request": {"RequestUrl": str, "HttpVerb?": str, "ParseDependentRequests?": bool},
        "ValidationRules?": {"ExpectedHttpStatusCode?": int, "SSLCheck?": bool},
    },
}

WORKBOOK = {
    "location": str,
    "kind": str,
    "tags?": TAGS,
    "properties": {
        "displayName": str,
        "category": str,
        "sourceId?": str,
        "serializedData": str,
    },
}

SAVED_SEARCH = {
    "etag?": str,
    "properties": {"category": str, "displayName": str, "query": str, "version?": int},
}

NOTIFICATION = {
    "enabled": bool,
    "operator": str,
    "threshold": NUMBER,
    "thresholdType?": str,
    "contactEmails": [str],
    "contactRoles?": [str],
    "contactGroups?": [str],
}
BUDGET = {
    "eTag?": str,
    "properties": {
        "category": str,
        "amount": NUMBER,
        "timeGrain": str,
        "timePeriod": {"startDate": str, "endDate?": str},
        "notifications?": {"*": NOTIFICATION},
    },
}
