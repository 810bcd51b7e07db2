"""Telemetry that leaves the service: none, unless a setting names where to."""

from __future__ import annotations

from app.errors import StartupError
from app.metrics.service import Metrics
from app.release import Release
from app.settings import Settings
from app.telemetry.requests import Tracer


def open_exports(settings: Settings, release: Release, metrics: Metrics, worker: int) -> Tracer:
    """Begin to export; imports OpenTelemetry, which takes a good part of a second.

    Must be called after the fork: its threads would not survive one.

    Args:
        worker: number of this process; the first one exports the metrics of all.

    Raises:
        StartupError: an exporter refuses its settings, or one of its own environment variables.
    """
    try:
        from app.telemetry.otel.exports import Exports

        return Exports(settings, release, metrics.collect, worker)
    except Exception as error:  # the exporters' libraries raise what they like
        raise StartupError(f"telemetry cannot be exported: {error}") from error
