"""Telemetry that leaves the service: none, unless a setting names where to."""

from __future__ import annotations

from engine.serving.errors import StartupError
from engine.serving.metrics.service import Metrics
from engine.serving.release import Release
from engine.serving.settings import Settings
from engine.serving.telemetry.requests import Tracer


def open_exports(settings: Settings, release: Release, metrics: Metrics, worker: int) -> Tracer:
    """Begin to export; imports OpenTelemetry, which takes a good part of a second.

    Must be called after the fork: its threads would not survive one.

    Args:
        worker: number of this process; the first one exports the metrics of all.

    Raises:
        StartupError: an exporter refuses its settings, or one of its own environment variables.
    """
    try:
        from engine.serving.telemetry.otel.exports import Exports

        return Exports(settings, release, metrics.collect, worker)
    except Exception as error:  # the exporters' libraries raise what they like
        raise StartupError(f"telemetry cannot be exported: {error}") from error
