"""What is compared: the service without any telemetry, and with more and more of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SILENT = Path(__file__).with_name("silent.py")
BASE = "nothing"
# The one that a promise is made about: what is on without any setting.
DEFAULT = "metrics and log"
TRACING = "TRACE_SAMPLE_RATIO"
COLLECTOR = "{collector}"


@dataclass(frozen=True)
class Variant:
    """One way to run the service. `needs` names a setting that must exist for it."""

    name: str
    arguments: tuple[str, ...] = ("-m", "app")
    settings: Mapping[str, str] = field(default_factory=dict)
    needs: str = ""


def _traced(ratio: str, most: str = "10000") -> Variant:
    settings = {
        TRACING: ratio,
        "TRACES_PER_SECOND": most,
        "OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR,
    }
    name = f"and traces, ratio {ratio}, at most {most} a second"
    return Variant(name, settings=settings, needs=TRACING)


VARIANTS = (
    Variant(BASE, (str(SILENT),)),
    Variant("metrics", settings={"LOG_REQUESTS_PER_SECOND": "0"}),
    Variant(DEFAULT),
    _traced("0.1", "20"),
    _traced("0.1"),
    _traced("1.0"),
)
