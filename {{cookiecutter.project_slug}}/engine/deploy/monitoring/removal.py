"""What an environment's monitoring leaves when its resource group is deleted: the rest of it.

Rules, action group, workbook and check go with the group. The saved queries are in the workspace,
and a budget belongs to the group without being in it.
"""

from __future__ import annotations

from typing import Any

from engine.deploy.az import Az, AzError
from engine.deploy.azure_ids import one_of
from engine.deploy.monitoring import documents, queries
from engine.deploy.monitoring.budget import budget
from engine.deploy.monitoring.documents import Resource
from engine.deploy.monitoring.place import Place


def saved_queries(az: Az, place: Place) -> list[Resource]:
    """Those of this environment that are there; none where this login may not look."""
    saved = [documents.saved_query(place, name) for name in queries.saved()]
    listed = _find(az, f"{place.workspace}/savedSearches", saved[0].version)
    names = [each.get("name") for each in (listed or {}).get("value") or []]
    return [each for each in saved if one_of(each.id.rpartition("/")[2], names)]


def budget_of(az: Az, place: Place) -> Resource | None:
    """The budget, if there is one and this login may look."""
    wanted = budget(place, "2000-01-01")
    return None if _find(az, wanted.id, wanted.version) is None else wanted


def remove(az: Az, resource: Resource) -> None:
    """Delete it; what is gone already is no error."""
    try:
        az.change("rest", "--method", "delete", "--url", _url(resource.id, resource.version))
    except AzError as error:
        if not error.missing:
            raise


def _find(az: Az, path: str, version: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] | None = az.find(
            "rest", "--method", "get", "--url", _url(path, version)
        )
    except AzError as error:
        if error.status != 403:
            raise
        return None
    return found


def _url(path: str, version: str) -> str:
    return f"{path}?api-version={version}"
