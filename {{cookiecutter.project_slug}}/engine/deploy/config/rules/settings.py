"""Rules on what the container is given: variables, secrets, and the tags beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from engine.client.service import FRONT_DOOR
from engine.client.service import front_door as named
from engine.deploy.config import names
from engine.deploy.config.environment import CONNECTION, Environment
from engine.deploy.config.project import Project
from engine.deploy.config.rules.rule import Broken, Rule, field_name
from engine.serving.http.routes import PROBES
from engine.serving.settings import Settings

RESERVED = {
    "PORT": "is set from the field port, which the probes and the address use too",
    "GIT_REVISION": "is set by the image, and tells verify which commit runs",
    "HOST": "must stay 0.0.0.0, or nothing outside the container reaches the service",
}
KEYS = "API_KEYS"
# The headers carry a collector's key. OpenTelemetry specification: protocol/exporter.
SECRETS = (
    KEYS,
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
)
MOST_TAGS = 50


class _Given(Settings):
    """The service's settings, made of what is given here and of nothing around it."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def setting_faults(given: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Name and broken rule of each setting that the service would refuse to start with."""
    by_name = {name.lower(): name for name in given}
    known = {low: given[name] for low, name in by_name.items() if low in Settings.model_fields}
    try:
        _Given(**known)  # type: ignore[arg-type]
    except ValidationError as error:
        for item in error.errors():
            rule = item["msg"].removeprefix("Value error, ")
            yield by_name[str(item["loc"][0])], f"the service does not start with it: {rule}"


def values(project: Project, environment: Environment) -> Iterator[Broken]:
    """What the service itself would refuse, said before anything is deployed."""
    elsewhere = {*RESERVED, *SECRETS, CONNECTION}  # refused below, without their values
    plain = {n: v for n, v in environment.variables.items() if n.upper() not in elsewhere}
    for name, rule in setting_faults(plain):
        yield Broken(("variables", name), rule, "see the settings in docs/reference.md")


def reserved(project: Project, environment: Environment) -> Iterator[Broken]:
    """Settings that something else decides, and those whose value nobody may read."""
    for at, name in _all_names(environment):
        if name.upper() in RESERVED:
            yield Broken(at, RESERVED[name.upper()], "remove it")
    for name in environment.variables:
        if name.upper() in SECRETS:
            yield Broken(
                ("variables", name),
                "is a secret, and here everyone who sees the repository or the portal can read it",
                f"write {name.upper()} under secrets, set the value in the environment of the "
                "deploy, and replace keys that were committed",
                secret=True,
            )


def telemetry(project: Project, environment: Environment) -> Iterator[Broken]:
    """Where telemetry goes is read from Azure, unless somebody chooses another place, in secret."""
    for at, name in _all_names(environment):
        if name.upper() != CONNECTION:
            continue
        if environment.telemetry:
            rule = "is read from the project's Application Insights while telemetry is true"
        elif at[0] == "variables":
            rule = "lets everyone who reads it write into that Application Insights"
        else:
            continue
        yield Broken(
            at,
            rule,
            f"remove it; or, for an Application Insights of your own, write telemetry: false, "
            f"{CONNECTION} under secrets, and its value into the environment of the deploy",
            secret=True,
        )


def front_door(project: Project, environment: Environment) -> Iterator[Broken]:
    """The id of a Front Door is where each command finds it; probes ask what is open then."""
    for at, name in _all_names(environment):
        if name.upper() == FRONT_DOOR and at[0] == "secrets":
            yield Broken(
                at,
                "is sent by every command that asks the service, and so has to be readable here",
                "write it under variables; with API_KEYS, who knows it still needs a key",
            )
    if not named(environment.variables):
        return
    probes = {"liveness": environment.probes.liveness, "readiness": environment.probes.readiness}
    for kind, probe in probes.items():
        if probe.path.partition("?")[0] not in PROBES:
            yield Broken(
                ("probes", kind, "path"),
                f"{FRONT_DOOR} leaves only {', '.join(sorted(PROBES))} open for probes",
                "take one of these",
            )


def once(project: Project, environment: Environment) -> Iterator[Broken]:
    """No name twice, whatever its case: the service reads variables without regard to it."""
    seen: dict[str, str] = {}
    for at, name in _all_names(environment):
        first = seen.setdefault(name.upper(), field_name(at))
        if first != field_name(at):
            yield Broken(
                at,
                f"must be there once, and {first} is the same variable",
                "remove one of the two; a secret is under secrets only",
            )


def github_secrets(project: Project, environment: Environment) -> Iterator[Broken]:
    """Secrets are kept in GitHub, which has rules for their names. GitHub docs: using secrets."""
    for position, name in enumerate(environment.secrets):
        if name.upper().startswith("GITHUB_") or name[0].isdigit():
            yield Broken(
                ("secrets", position),
                "GitHub keeps no secret whose name begins with GITHUB_ or a digit",
                "give the setting another name",
            )


def tags(project: Project, environment: Environment) -> Iterator[Broken]:
    """Azure's limits on tags, and the names that a rollout uses. Azure docs: tag resources."""
    own = (*names.RELEASE_TAGS, *names.ROLLOUT_TAGS)
    if len(environment.tags) > MOST_TAGS - len(own):
        yield Broken(
            ("tags",),
            f"a resource has at most {MOST_TAGS} tags, and a rollout needs {len(own)} of them",
            "remove some",
        )
    seen: set[str] = set()
    for name in environment.tags:
        if name.lower() in own:
            yield Broken(("tags", name), "is written by every rollout", "take another name")
        if name.lower() in seen:
            yield Broken(("tags", name), "is there twice: case does not count", "remove one")
        seen.add(name.lower())


def _all_names(environment: Environment) -> Iterator[tuple[tuple[int | str, ...], str]]:
    for name in environment.variables:
        yield ("variables", name), name
    for position, name in enumerate(environment.secrets):
        yield ("secrets", position), name


RULES = (
    Rule(("variables",), values),
    Rule(("variables", "secrets"), reserved),
    Rule(("variables", "secrets"), once),
    Rule(("variables", "secrets", "probes"), front_door),
    Rule(("variables", "secrets", "telemetry"), telemetry),
    Rule(("secrets",), github_secrets),
    Rule(("tags",), tags),
)
