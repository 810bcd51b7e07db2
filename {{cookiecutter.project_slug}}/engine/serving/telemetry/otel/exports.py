"""All that is exported by one process: what it makes, and where it goes."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable

from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from prometheus_client.metrics_core import Metric as Family

from engine.serving.release import Release
from engine.serving.settings import Settings
from engine.serving.telemetry.otel.destinations import Destination, open_destinations
from engine.serving.telemetry.otel.families import Reader
from engine.serving.telemetry.otel.outlet import LastWarning, Outlet
from engine.serving.telemetry.otel.spans import RequestSpans


class Exports:
    """Follows the sampled requests of one process; a ``Tracer``.

    Args:
        collect: the metrics of all workers.
        worker: number of this process; the first one exports the metrics.

    Raises:
        ValueError: an environment variable that OpenTelemetry itself reads is wrong.
    """

    def __init__(
        self,
        settings: Settings,
        release: Release,
        collect: Callable[[], Iterable[Family]],
        worker: int,
    ) -> None:
        warning = LastWarning()
        warning.listen()
        resource = make_resource(release, worker)
        destinations = open_destinations(settings)
        seconds = settings.otel_metric_export_interval / 1000

        def outlet(to: Destination) -> Outlet:
            read = Reader(collect, resource, delta=to.delta).read if worker == 0 else None
            return Outlet(to, warning, read, seconds)

        self._outlets = [outlet(each) for each in destinations]
        self._spans = RequestSpans(
            resource,
            self._outlets,
            settings.trace_sample_ratio,
            settings.traces_per_second,
            tell_ratio=any(each.counts_samples for each in destinations),
        )
        self.begin, self.end = self._spans.begin, self._spans.end

    def stop(self, seconds: float) -> None:
        """Send what is left, for that many seconds at most; blocks."""
        self._spans.close_runs()
        until = time.monotonic() + seconds
        for each in self._outlets:
            each.begin_stop()
        for each in self._outlets:
            each.join(max(0.0, until - time.monotonic()))


def make_resource(release: Release, worker: int) -> Resource:
    """What the spans and metrics of this process say about it.

    ``OTEL_SERVICE_NAME`` and ``OTEL_RESOURCE_ATTRIBUTES`` have the last word.
    """
    version = release.version
    if release.revision != "unknown":
        version = f"{version}+{release.revision}"
    own = Resource.create(
        {
            "service.name": release.name,
            "service.version": version,
            "service.instance.id": f"{socket.gethostname()}/{worker}",
        }
    )
    return own.merge(OTELResourceDetector().detect())
