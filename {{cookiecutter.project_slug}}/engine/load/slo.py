"""load/slo.yaml: objectives and load, typed; all faults are reported at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from engine.comparing.metrics import Metric
from engine.deploy.config.source import Source, read_source
from engine.errors import ConfigError, Fault

THINK_SECONDS = (0.02, 0.2)
"""What a user waits between two requests: evenly distributed between these."""

SHORT_SHARE = 0.2


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Quality(_Strict):
    """How much worse than production a model may be: ``margin`` in units of ``metric``.

    ``data`` is a file of rows in the repository, ``label`` its column of right answers. ``model``
    is needed where there are several.
    """

    metric: Metric
    margin: float = Field(ge=0)
    data: str = ""
    label: str = "label"
    model: str | None = None


class Slo(_Strict):
    """Objectives (``p95_ms`` in ms, ``minimum_rps`` in answers per second) and load (seconds)."""

    p95_ms: float = Field(gt=0, le=600_000)
    error_ratio: float = Field(ge=0, lt=1)
    minimum_rps: float = Field(gt=0, le=1_000_000)
    users: int = Field(ge=1, le=10_000)
    ramp_seconds: float = Field(ge=0, le=3600)
    warm_up_seconds: float = Field(ge=0, le=3600)
    run_seconds: float = Field(ge=1, le=86_400)
    quality: Quality | None = None

    @model_validator(mode="after")
    def _reachable(self) -> Slo:
        most = self.users / (sum(THINK_SECONDS) / 2)
        if self.minimum_rps > most:
            raise ValueError(
                f"minimum_rps is {self.minimum_rps:g} and {self.users} users ask for at most "
                f"{most:.0f} requests per second, however fast the service is: add users"
            )
        return self

    @property
    def before_seconds(self) -> float:
        """From the start until anything is measured."""
        return self.ramp_seconds + self.warm_up_seconds

    def scaled(self, users: int | None, run_seconds: float | None) -> Slo:
        """The same objectives under another load.

        With other users the throughput that is asked for changes in proportion. With a shorter
        run, ramp and warm-up are no longer than a fifth of it.
        """
        changed: dict[str, Any] = {}
        if users is not None:
            changed |= {"users": users, "minimum_rps": self.minimum_rps * users / self.users}
        if run_seconds is not None:
            longest = run_seconds * SHORT_SHARE
            changed |= {
                "run_seconds": run_seconds,
                "ramp_seconds": min(self.ramp_seconds, longest),
                "warm_up_seconds": min(self.warm_up_seconds, longest),
            }
        return Slo.model_validate(self.model_dump() | changed)


def read_slo(path: Path, users: int | None = None, run_seconds: float | None = None) -> Slo:
    """Read the file; the command line may ask for another load, see ``Slo.scaled``.

    Raises:
        ConfigError: with every fault.
    """
    source = read_source(path.parent, path.name)
    if source.faults:
        raise ConfigError(source.faults)
    try:
        return Slo.model_validate(source.data).scaled(users, run_seconds)
    except ValidationError as error:
        raise ConfigError(tuple(_fault(source, item) for item in error.errors())) from None


def _fault(source: Source, item: ErrorDetails) -> Fault:
    field = ".".join(str(part) for part in item["loc"]) or "objectives"
    value = None if item["type"] == "missing" else item["input"]
    rule = item["msg"].removeprefix("Value error, ")
    known = (Quality if len(item["loc"]) > 1 else Slo).model_fields.keys()
    unknown = item["loc"] and item["loc"][-1] not in known
    fix = f"use {', '.join(known)}" if unknown else "correct it"
    if not item["loc"]:
        value = value["minimum_rps"] if isinstance(value, dict) else value
    return Fault(source.place(item["loc"]), field, value, rule[:1].lower() + rule[1:], fix)
