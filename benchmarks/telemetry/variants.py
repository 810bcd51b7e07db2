"""What is compared: the service without any telemetry, and with more and more of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    arguments: tuple[str, ...] = ("-m", "engine.serving")
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


def apart(variants: Sequence[Variant]) -> list[list[Variant]]:
    """Variants that are measured together, each group with the base first.

    Those with traces go apart: their spans are still being sent while the next one is loaded.
    """
    base, *others = variants
    groups = [[each for each in others if bool(each.needs) is traced] for traced in (False, True)]
    return [[base, *group] for group in groups if group]


VARIANTS = (
    Variant(BASE, (str(SILENT),)),
    Variant("metrics", settings={"LOG_REQUESTS_PER_SECOND": "0"}),
    Variant(DEFAULT),
    _traced("0.1", "20"),
    _traced("0.1"),
    _traced("1.0"),
)
