"""All steps of `python -m engine.deploy monitoring` for one environment, as a bootstrap has them.

Every step looks before it acts, and what is there counts as right when it says all that the
document says; what else Azure or a person has set on it stays.

When the resource group is deleted, rules, action group, workbook and check go with it. The saved
queries, which are in the workspace, and the budget, which belongs to the group without being in it,
are removed here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from engine.deploy.az import Az, AzError
from engine.deploy.azure_ids import member, one_of, same
from engine.deploy.bootstrap.step import Command, Found, Rule, Step, always, az
from engine.deploy.monitoring import alerts, documents, queries
from engine.deploy.monitoring.documents import Resource, budget
from engine.deploy.monitoring.place import Place
from engine.deploy.monitoring.rules import log_rules
from engine.deploy.targets.kind import kind_of

_TEXTS = ("query", "description", "displayName", "serializedData", "hidden-title", "RequestUrl")
"""Members in which the case of a letter is part of what they say."""
_FETCH = {"workbooks": "&canFetchContent=true"}
"""Without it, Azure shows a workbook without its content."""


def resources(place: Place, address: str, objective_ms: float) -> tuple[Resource, ...]:
    """Everything but the budget, in an order in which each one finds what it needs."""
    environment = place.environment
    outside = (
        (alerts.outside_check(place, address), alerts.outside_rule(place))
        if environment.alerts.outside_check_minutes
        else ()
    )
    return (
        *((documents.action_group(place),) if environment.alerts.email else ()),
        *outside,
        *(alerts.log_rule(place, rule) for rule in log_rules(environment, objective_ms)),
        *(
            alerts.metric_rule(place, rule)
            for rule in kind_of(environment).metric_rules(environment)
        ),
        *(documents.saved_query(place, name) for name in queries.saved()),
        documents.workbook(place),
    )


def plan(place: Place, address: str, objective_ms: float, month: str) -> tuple[Step, ...]:
    """The steps.

    Args:
        address: of the service, without a slash at its end.
        objective_ms: p95_ms of load/slo.yaml.
        month: the first day of this month, "2026-11-01".
    """
    steps = [_step(each) for each in resources(place, address, objective_ms)]
    if place.environment.alerts.budget:
        steps.append(_budget(place, month))
    return tuple(steps)


def _step(resource: Resource) -> Step:
    make = put(resource)
    return _checked(resource, make, always(make), resource.body)


def _budget(place: Place, month: str) -> Step:
    new = budget(place, month)
    wanted = {k: v for k, v in new.body["properties"].items() if k != "timePeriod"}

    def repair(found: Found) -> tuple[Command, ...]:
        return (put(budget(place, month, found)),)

    return _checked(new, put(new), repair, {"properties": wanted})


def _checked(
    resource: Resource,
    make: Command,
    repair: Callable[[Found], tuple[Command, ...]],
    wanted: Mapping[str, Any],
) -> Step:
    return Step(
        key=resource.id,
        what=resource.what,
        purpose=resource.purpose.rstrip("."),
        look=get(resource),
        make=(make,),
        rules=(
            Rule(
                path=lambda found: says(found, {k: v for k, v in wanted.items() if k != "etag"}),
                wanted=True,
                wrong="is not what the configuration says",
                repair=repair,
            ),
        ),
    )


def get(resource: Resource) -> Command:
    """Look at a resource."""
    more = _FETCH.get(resource.id.split("/")[-2], "")
    return az("rest", "--method", "get", "--url", _url(resource) + more)


def put(resource: Resource) -> Command:
    """Make or replace a resource."""
    body = json.dumps(resource.body)
    return az("rest", "--method", "put", "--url", _url(resource), "--body", body)


def says(found: Any, wanted: Any, name: str = "") -> bool:
    """Whether what was found says all that is wanted, in whichever spelling Azure gives it back.

    Azure leaves out what is empty or the default of its type, keeps no order, and spells names,
    ids, durations and the keys of dictionaries as it likes. Texts for people are compared exactly.
    """
    if _empty(found) or _empty(wanted):
        return _empty(found) and _empty(wanted)
    if isinstance(wanted, Mapping):
        if not isinstance(found, Mapping):
            return False
        return all(says(member(found, key), each, key) for key, each in wanted.items())
    if isinstance(wanted, list):
        if not isinstance(found, list) or len(found) != len(wanted):
            return False
        left = list(found)
        for each in wanted:
            at = next((n for n, one in enumerate(left) if says(one, each, name)), None)
            if at is None:
                return False
            del left[at]
        return True
    if isinstance(wanted, str) and isinstance(found, str) and not one_of(name, _TEXTS):
        return found == wanted or same(found, wanted)
    return bool(found == wanted)


def _empty(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_empty, value.values()))
    return not value


def _url(resource: Resource) -> str:
    return f"{resource.id}?api-version={resource.version}"


def saved_queries(az: Az, place: Place) -> list[Resource]:
    """Those of this environment that are there; none where this login may not look."""
    saved = [documents.saved_query(place, name) for name in queries.saved()]
    listed = _at(az, f"{place.workspace}/savedSearches", saved[0].version)
    names = [each.get("name") for each in (listed or {}).get("value") or []]
    return [each for each in saved if one_of(each.id.rpartition("/")[2], names)]


def budget_of(az: Az, place: Place) -> Resource | None:
    """The budget, if there is one and this login may look."""
    wanted = budget(place, "2000-01-01")
    return None if _at(az, wanted.id, wanted.version) is None else wanted


def remove(az: Az, resource: Resource) -> None:
    """Delete it; what is gone already is no error."""
    try:
        az.change("rest", "--method", "delete", "--url", _url(resource))
    except AzError as error:
        if not error.missing:
            raise


def _at(az: Az, path: str, version: str) -> Any:
    return az.visible("rest", "--method", "get", "--url", f"{path}?api-version={version}")
