"""All that is exported by one process: what it makes, and where it goes."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping

from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan
from prometheus_client.metrics_core import Metric as Family

from engine.serving.release import Release
from engine.serving.request import Request, Run
from engine.serving.settings import Settings
from engine.serving.telemetry.otel.courier import Courier
from engine.serving.telemetry.otel.destinations import Destination, open_destinations
from engine.serving.telemetry.otel.families import Reader
from engine.serving.telemetry.otel.spans import Batch, SpanMaker
from engine.serving.telemetry.otel.words import listen
from engine.serving.telemetry.sampling import Sampler
from engine.serving.telemetry.traceparent import write

# Requests that share a run are answered one after the other, some some turns of the event loop
# later. Their run's span waits at least this long for them.
BATCH_SETTLES_SECONDS = 0.5
# Runs that a request may still refer to whose client is slow to take the answer.
BATCHES_KEPT = 1024


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
        words = listen()
        resource = make_resource(release, worker)
        destinations = open_destinations(settings)
        ratio = settings.trace_sample_ratio
        rate = ratio * 100 if any(each.counts_samples for each in destinations) else None
        seconds = settings.otel_metric_export_interval / 1000

        def courier(to: Destination) -> Courier:
            read = Reader(collect, resource, delta=to.delta).read
            send_metrics = to.metric_sender(read) if worker == 0 else None
            return Courier(to.name, to.send_spans, send_metrics, to.close, words, seconds)

        sampler = Sampler(ratio, settings.traces_per_second)
        self._couriers = [courier(each) for each in destinations]
        self._follower = Follower(sampler, SpanMaker(resource, sampler, rate), self._put)
        self.begin, self.end = self._follower.begin, self._follower.end

    def stop(self, seconds: float) -> None:
        """Send what is left, for that many seconds at most; blocks."""
        self._follower.close_batches()
        until = time.monotonic() + seconds
        for each in self._couriers:
            each.begin_stop()
        for each in self._couriers:
            each.join(max(0.0, until - time.monotonic()))

    def _put(self, spans: list[ReadableSpan]) -> None:
        for each in self._couriers:
            each.put(spans)


class Follower:
    """Decides about requests and makes their spans; all of it on the event loop's thread.

    Args:
        put: takes finished spans; must not block.
    """

    def __init__(
        self, sampler: Sampler, maker: SpanMaker, put: Callable[[list[ReadableSpan]], None]
    ) -> None:
        self._sampler = sampler
        self._maker = maker
        self._put = put
        # By identity: two runs could have equal numbers. Each batch keeps its run, and so its id.
        self._batches: OrderedDict[int, Batch] = OrderedDict()
        # Whose spans are not made yet: those of this and of the last period.
        self._young: list[Batch] = []
        self._old: list[Batch] = []
        self._closing: asyncio.TimerHandle | None = None

    def begin(self, request: Request, headers: Mapping[bytes, bytes]) -> None:
        """A request was just read."""
        sampled = self._sampler.decide(headers, request.began)
        if sampled is not None:
            request.span = sampled
            request.returned = write(sampled.here)

    def end(self, request: Request) -> None:
        """A request that is traced was answered."""
        if request.span is None:
            return
        batches = [self._batch(run, request.model) for run in request.runs]
        self._put(self._maker.request_spans(request, request.span, batches))

    def close_batches(self) -> None:
        """Make the spans of all runs; no more requests will come that shared them."""
        if self._closing is not None:
            self._closing.cancel()
        self._age()
        self._age()

    def _batch(self, run: Run, model: str) -> Batch:
        batch = self._batches.get(id(run))
        if batch is None:
            batch = self._batches[id(run)] = self._maker.batch(run, model)
            self._young.append(batch)
            if len(self._batches) > BATCHES_KEPT:
                self._batches.popitem(last=False)
            if self._closing is None:
                self._age_later()
        return batch

    def _age_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._closing = loop.call_later(BATCH_SETTLES_SECONDS, self._on_time)

    def _on_time(self) -> None:
        self._closing = None
        self._age()
        if self._old:
            self._age_later()

    def _age(self) -> None:
        if self._old:
            self._put([self._maker.batch_span(each) for each in self._old])
        self._old, self._young = self._young, []


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
