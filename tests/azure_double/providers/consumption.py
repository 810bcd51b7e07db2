"""Microsoft.Consumption: budgets of resource groups. They mail when money is spent; none is here.

Source: the REST reference of budgets: the beginning of the period, the limits on notifications, and
the eTag by which a change says what it has seen.
"""

from __future__ import annotations

import copy
import datetime
import re
import uuid
from collections.abc import Iterable

from ..arm.azure import Provider
from ..arm.call import Answer, Call, lister, remove, show
from ..arm.errors import ArmError, not_modelled
from ..arm.routes import Route
from ..shape import check
from .monitor_shapes import BUDGET

BUDGETS = "Microsoft.Consumption/budgets"
VERSIONS = frozenset({"2023-05-01", "2024-08-01"})
NAME = re.compile(r"[A-Za-z0-9_-]{1,63}")
GRAINS = ("Monthly", "Quarterly", "Annually")
MOST_NOTIFICATIONS, MOST_PERCENT = 5, 1000
YEARS = 10


class Consumption(Provider):
    """Budgets."""

    namespace = "Microsoft.Consumption"
    registration_free = True

    def routes(self) -> Iterable[Route]:
        """The usual calls, at any scope."""
        one = f"{{scope*}}/providers/{BUDGETS}/{{name}}"
        for method, template, handle, verb in (
            ("PUT", one, self.put, "write"),
            ("GET", one, show, "read"),
            ("DELETE", one, remove, "delete"),
            ("GET", f"{{scope*}}/providers/{BUDGETS}", lister(BUDGETS), "read"),
        ):
            yield Route(
                *(method, template, handle, f"{BUDGETS}/{verb}", BUDGETS, VERSIONS),
                makes=method == "PUT",
                scope="{scope*}",
            )

    async def put(self, call: Call) -> Answer:
        """A new one begins with this month; an existing one keeps its beginning."""
        check(call.body, BUDGET)
        if not NAME.fullmatch(call.values["name"]):
            raise _refuse("the name must have 1 to 63 letters, digits, hyphens and underscores")
        properties = copy.deepcopy(call.body["properties"])
        existing = self.azure.store.get(call.id)
        if existing and call.body.get("eTag") != existing.body["eTag"]:
            raise ArmError(409, "409", "The budget was changed since: its eTag is another one.")
        self._check_amount(properties)
        begin = properties["timePeriod"]["startDate"]
        if existing:
            if begin != existing.properties["timePeriod"]["startDate"]:
                raise _refuse("the startDate of a budget cannot be changed")
        elif not begin.startswith(f"{datetime.datetime.now(datetime.UTC):%Y-%m}-01"):
            raise _refuse(f"startDate '{begin}' must be the first day of this month")
        for name, each in (properties.get("notifications") or {}).items():
            _check_notification(name, each)
        year = int(begin[:4])
        properties["timePeriod"].setdefault("endDate", f"{year + YEARS}{begin[4:]}")
        properties["currentSpend"] = {"amount": 0.0, "unit": "EUR"}
        made = self.azure.store.put(
            call.id, {"eTag": f'"{uuid.uuid4().hex[:15]}"', "properties": properties}
        )
        return Answer(200 if existing else 201, made.shown())

    def _check_amount(self, properties: dict[str, object]) -> None:
        amount = properties["amount"]
        if not isinstance(amount, (int, float)) or amount <= 0:
            raise _refuse("the amount must be more than 0")
        if properties["category"] != "Cost" or properties["timeGrain"] not in GRAINS:
            raise not_modelled("budgets of another category or time grain")
        if len(properties.get("notifications") or {}) > MOST_NOTIFICATIONS:  # type: ignore[arg-type]
            raise _refuse(f"there may be at most {MOST_NOTIFICATIONS} notifications")


def _check_notification(name: str, notification: dict[str, object]) -> None:
    threshold = notification["threshold"]
    if not isinstance(threshold, (int, float)) or not 0 <= threshold <= MOST_PERCENT:
        raise _refuse(f"the threshold of {name} must be from 0 to {MOST_PERCENT} per cent")
    if notification["operator"] not in ("GreaterThan", "GreaterThanOrEqualTo", "EqualTo"):
        raise _refuse(f"{name} has no operator '{notification['operator']}'")
    if notification.get("thresholdType", "Actual") not in ("Actual", "Forecasted"):
        raise _refuse(f"{name} has no thresholdType '{notification['thresholdType']}'")
    told = ("contactEmails", "contactRoles", "contactGroups")
    if not any(notification.get(each) for each in told):
        raise _refuse(f"{name} tells nobody")


def _refuse(message: str) -> ArmError:
    return ArmError(400, "BadRequest", message)
