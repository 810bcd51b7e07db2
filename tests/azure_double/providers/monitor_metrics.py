"""Metrics that Azure keeps of resources: which there are, and what they say.

Sources: Azure Monitor's lists of supported metrics for Microsoft.ContainerInstance/containerGroups
and Microsoft.App/containerApps. A test sets values; without that there is no data, as in Azure for
a resource that is minutes old.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from ..arm import ids
from ..arm.azure import Azure
from ..arm.call import Answer, Call
from ..arm.errors import ArmError, not_modelled

VERSIONS = frozenset({"2018-01-01", "2023-10-01", "2024-02-01"})
AGGREGATIONS = ("Average", "Minimum", "Maximum", "Total", "Count")
METRICS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "microsoft.containerinstance/containergroups": {
        "CpuUsage": ("Average",),
        "MemoryUsage": ("Average",),
        "NetworkBytesReceivedPerSecond": ("Average",),
        "NetworkBytesTransmittedPerSecond": ("Average",),
    },
    "microsoft.app/containerapps": {
        "UsageNanoCores": AGGREGATIONS[:4],
        "WorkingSetBytes": AGGREGATIONS[:4],
        "Requests": AGGREGATIONS[:4],
        "Replicas": AGGREGATIONS[:4],
        "RestartCount": AGGREGATIONS[:4],
        "RxBytes": AGGREGATIONS[:4],
        "TxBytes": AGGREGATIONS[:4],
    },
}
_MINUTES = 3


def known(resource_type: str, name: str) -> tuple[str, ...]:
    """The aggregations of a metric.

    Raises:
        ArmError: 400, the type has no such metric.
    """
    metrics = METRICS.get(resource_type.lower())
    if metrics is None:
        raise not_modelled(f"metrics of {resource_type}")
    for each, aggregations in metrics.items():
        if each.lower() == name.lower():
            return aggregations
    raise ArmError(
        400,
        "BadRequest",
        f"Failed to find metric configuration for provider: {resource_type}, metric: {name}, "
        f"Valid metrics: {','.join(metrics)}",
    )


class Metrics:
    """Answers ``GET …/providers/Microsoft.Insights/metrics``."""

    def __init__(self, azure: Azure) -> None:
        self._azure = azure
        self.values: dict[str, float] = {}
        """By metric, in lower case; the same for every resource."""

    async def show(self, call: Call) -> Answer:
        """The last minutes; the newest has no value yet."""
        resource = self._azure.store.require(call.scope)
        names = [each for each in call.query.get("metricnames", "").split(",") if each]
        aggregation = call.query.get("aggregation", "Average")
        if aggregation not in AGGREGATIONS:
            raise not_modelled(f"several aggregations at once: {aggregation}")
        found = [self._metric(resource.type, resource.id, each, aggregation) for each in names]
        return Answer(
            200,
            {
                "cost": 0,
                "timespan": call.query.get("timespan", ""),
                "interval": call.query.get("interval", "PT1M"),
                "namespace": resource.type,
                "resourceregion": resource.body.get("location", ""),
                "value": found,
            },
        )

    def _metric(self, kind: str, identifier: str, name: str, aggregation: str) -> dict[str, Any]:
        known(kind, name)
        value = self.values.get(name.lower())
        now = datetime.datetime.now(datetime.UTC).replace(second=0, microsecond=0)
        points: list[dict[str, Any]] = []
        for age in range(_MINUTES, -1, -1):
            stamp = (now - datetime.timedelta(minutes=age)).isoformat().replace("+00:00", "Z")
            there = value is not None and age > 0
            points.append({"timeStamp": stamp} | ({aggregation.lower(): value} if there else {}))
        return {
            "id": f"{identifier}/providers/Microsoft.Insights/metrics/{name}",
            "type": "Microsoft.Insights/metrics",
            "name": {"value": name, "localizedValue": name},
            "displayDescription": name,
            "unit": "Count",
            "timeseries": [{"metadatavalues": [], "data": points}],
            "errorCode": "Success",
        }


def type_of(identifier: str) -> str:
    """The resource type in an identifier, in lower case."""
    return ids.type_of(identifier).lower()
