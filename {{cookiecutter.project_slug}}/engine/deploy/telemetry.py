"""What a service needs to be seen on Azure, read from Azure at each deploy: nobody has to keep it.

Two values, both of which let their holder write into the project's data, so they are treated as
secrets: Application Insights' connection string, and the key of the workspace for the container's
log. They are set like any other secret of the service and are part of the same fingerprint, so a
key that was replaced is deployed by the next ``up``, and one that was not changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from engine.deploy.az import Az
from engine.deploy.azure_ids import same
from engine.deploy.config import names
from engine.deploy.config.environment import CONNECTION, Environment
from engine.deploy.config.project import Project
from engine.deploy.finding import Finding
from engine.deploy.targets.base import LOGS_KEY, STORAGE_KEY

INSIGHTS = ("--resource-type", "Microsoft.Insights/components", "--api-version", "2020-02-02")
_BOOTSTRAP = "`.venv/bin/python -m engine.deploy bootstrap` makes it and gives the deploy its role"


def looked_up(environment: Environment) -> frozenset[str]:
    """The secrets that are read from Azure; one that the configuration names itself is given."""
    return frozenset({CONNECTION, LOGS_KEY, STORAGE_KEY}) - frozenset(environment.secrets)


class TelemetrySecrets:
    """Reads the values, each once. They are never shown from then on.

    ``storage`` is resource group and name of the storage account whose shares are mounted.
    """

    def __init__(self, az: Az, project: Project, storage: tuple[str, str] | None = None) -> None:
        self._az = az
        self._project = project
        self._storage = storage
        self._known: dict[str, str | None] = {}

    def values(self, wanted: Iterable[str]) -> dict[str, str]:
        """The wanted values, as far as they can be read."""
        known = {name: self._value(name) for name in sorted(set(wanted))}
        return {name: value for name, value in known.items() if value}

    def _value(self, name: str) -> str | None:
        if name not in self._known:
            read = {CONNECTION: self._connection, LOGS_KEY: self._logs_key}
            value = read.get(name, self._storage_key)()
            self._az.say.hide(_parts(value))
            self._known[name] = value
        return self._known[name]

    def _connection(self) -> str | None:
        name = names.insights(self._project)
        place = ("--resource-group", self._project.shared_resource_group, "--name", name)
        shown = self._az.visible("resource", "show", *place, *INSIGHTS)
        return _text((shown or {}).get("properties", {}).get("ConnectionString"))

    def _logs_key(self) -> str | None:
        shown = self._az.visible(
            *("monitor", "log-analytics", "workspace", "get-shared-keys"),
            *("--resource-group", self._project.shared_resource_group),
            *("--workspace-name", names.workspace(self._project)),
        )
        return _text((shown or {}).get("primarySharedKey"))

    def _storage_key(self) -> str | None:
        if self._storage is None:
            return None
        group, account = self._storage
        place = ("--resource-group", group, "--account-name", account)
        shown = self._az.visible("storage", "account", "keys", "list", *place)
        return _text(shown[0].get("value")) if shown else None


def workspace_id(az: Az, project: Project) -> str | None:
    """The workspace's own id, which container groups name it by; None: not there, or not shown."""
    shown = az.visible(
        *("monitor", "log-analytics", "workspace", "show"),
        *("--resource-group", project.shared_resource_group),
        *("--workspace-name", names.workspace(project)),
    )
    return _text((shown or {}).get("customerId"))


def absent(project: Project, wanted: Iterable[str], known: Iterable[str]) -> list[Finding]:
    """A finding for each value that is needed and could not be read."""
    what = {
        CONNECTION: (f"Application Insights {names.insights(project)}", "telemetry: false"),
        LOGS_KEY: (f"the key of the workspace {names.workspace(project)}", "container_logs: false"),
        STORAGE_KEY: ("the key of the environment's storage account", "no https and no volumes"),
    }
    return [
        Finding(
            "missing", f"{what[name][0]} cannot be read", f"{_BOOTSTRAP}; or write {what[name][1]}"
        )
        for name in sorted(set(wanted) - set(known))
    ]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _parts(value: str | None) -> list[str]:
    """The value, and of a connection string the key in it, which could be shown alone."""
    pairs = (part.partition("=") for part in (value or "").split(";"))
    keys = [content for key, _, content in pairs if same(key, "InstrumentationKey") and content]
    return [value, *keys] if value else []
