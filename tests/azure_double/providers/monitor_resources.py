"""The resources of Azure Monitor that watch others: kept, shown as Azure shows them, never at work.

No alert fires here and no mail is sent; what is watched is whether Azure would take the rules.
"""

from __future__ import annotations

import copy
import datetime
from collections.abc import Callable, Iterable
from typing import Any

from ..arm.azure import Azure
from ..arm.call import Answer, Call, lister, remove, show
from ..arm.routes import Handle, ResourceType, Route
from . import monitor_rules as rules

NAMESPACE = "Microsoft.Insights"
Check = Callable[[Azure, dict[str, Any]], None]
_OTHER_RECEIVERS = ("smsReceivers", "webhookReceivers", "armRoleReceivers", "voiceReceivers")


class Watching:
    """Action groups, metric alerts, scheduled query rules, web tests, workbooks."""

    def __init__(self, azure: Azure) -> None:
        self._azure = azure
        self.groups = _type("actionGroups", "2023-01-01", "2024-10-01-preview")
        self.metric_alerts = _type("metricAlerts", "2018-03-01")
        self.log_rules = _type("scheduledQueryRules", "2021-08-01", "2023-12-01")
        self.web_tests = _type("webtests", "2022-06-15")
        self.workbooks = _type("workbooks", "2022-04-01", "2023-06-01")

    def types(self) -> Iterable[ResourceType]:
        """All five."""
        return (self.groups, self.metric_alerts, self.log_rules, self.web_tests, self.workbooks)

    def routes(self) -> Iterable[Route]:
        """Put, get, delete and list of each."""
        for kind, put in (
            (self.groups, self._put(rules.action_group, _shown_group)),
            (self.metric_alerts, self._put(rules.metric_alert, _shown_metric_alert)),
            (self.log_rules, self._put(rules.log_rule, _shown_log_rule)),
            (self.web_tests, self._put(rules.web_test, _shown_web_test)),
            (self.workbooks, self.put_workbook),
        ):
            yield kind.put(put)
            yield kind.get(self.show_workbook if kind is self.workbooks else show)
            yield kind.delete(remove)
            yield kind.list(lister(kind.name))

    def _put(self, check: Check, shown: Callable[[dict[str, Any]], None]) -> Handle:
        async def put(call: Call) -> Answer:
            check(self._azure, call.body)
            return self._kept(call, shown)

        return put

    async def put_workbook(self, call: Call) -> Answer:
        """Its content is kept, and shown to those who ask for it."""
        rules.workbook(self._azure, call.values["name"], call.body)
        return self._kept(call, lambda body: None)

    async def show_workbook(self, call: Call) -> Answer:
        """Without ``canFetchContent=true`` Azure leaves the content out."""
        found = call.resource().shown()
        if call.query.get("canfetchcontent", "").lower() != "true":
            found["properties"]["serializedData"] = None
        return Answer(200, found)

    def _kept(self, call: Call, shown: Callable[[dict[str, Any]], None]) -> Answer:
        existing = self._azure.store.get(call.id)
        body = copy.deepcopy(call.body)
        shown(body)
        made = self._azure.store.put(call.id, body)
        return Answer(200 if existing else 201, made.shown())


def _type(path: str, *versions: str) -> ResourceType:
    return ResourceType(NAMESPACE, path, frozenset(versions))


def _shown_group(body: dict[str, Any]) -> None:
    properties = body["properties"]
    properties |= {each: [] for each in _OTHER_RECEIVERS}
    for receiver in properties.setdefault("emailReceivers", []):
        receiver["status"] = "Enabled"


def _shown_metric_alert(body: dict[str, Any]) -> None:
    properties = body["properties"]
    properties["lastUpdatedTime"] = _now()
    properties.setdefault("targetResourceType", "")
    for criterion in properties["criteria"].get("allOf") or []:
        criterion["threshold"] = float(criterion["threshold"])
        criterion["dimensions"] = []


def _shown_log_rule(body: dict[str, Any]) -> None:
    body["properties"] |= {
        "createdWithApiVersion": "2023-12-01",
        "isLegacyLogAnalyticsRule": False,
        "isWorkspaceAlertsStorageConfigured": False,
        "targetResourceTypes": ["Microsoft.OperationalInsights/workspaces"],
    }
    # Recorded answers of Azure: without an action group, the whole member is left out.
    if not (body["properties"].get("actions") or {}).get("actionGroups"):
        body["properties"].pop("actions", None)
    for condition in body["properties"]["criteria"]["allOf"]:
        condition["threshold"] = float(condition["threshold"])
        condition.setdefault("dimensions", [])


def _shown_web_test(body: dict[str, Any]) -> None:
    body["properties"] |= {"provisioningState": "Succeeded", "Configuration": None}


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat()
