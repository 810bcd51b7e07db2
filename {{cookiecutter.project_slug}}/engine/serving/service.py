"""Put the service together."""

from __future__ import annotations

import asyncio
import logging
from collections import ChainMap
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from fastapi import FastAPI

from engine.serving.capture.sample import Capture
from engine.serving.errors import PackageError, StartupError
from engine.serving.extension import Extension
from engine.serving.http.bodies import Bodies
from engine.serving.http.cors import Origins
from engine.serving.http.inference import Inference
from engine.serving.inference.host import ModelHost
from engine.serving.inference.service_hooks import run_stop_hooks
from engine.serving.lifecycle import Lifecycle
from engine.serving.logs.requests import RequestLines
from engine.serving.logs.setup import changed, count_dropped
from engine.serving.metrics.service import Metrics, columns_for, numbers_for
from engine.serving.metrics.shared_table import SharedTable
from engine.serving.package.digest import digest_of, find_packages, models_digest
from engine.serving.pages.api import HeadAsGet, create_api
from engine.serving.release import Release, read_release
from engine.serving.runtimes.cpu import granted_cpus
from engine.serving.service_file import own_extension
from engine.serving.settings import Settings
from engine.serving.telemetry.export import open_exports
from engine.serving.telemetry.requests import Lines, RequestTelemetry

log = logging.getLogger(__name__)

# After the last answer. A stop takes at most DRAIN_SECONDS, 0.3 s for the last answers, this, and
# half a second for the log: by default less than the ten seconds that platforms commonly give.
FLUSH_SECONDS = 1.0


class Service:
    """The inference service: its models, and what answers requests.

    The port opens at once; models are loaded and checked behind it.

    Args:
        on_fatal: called when the process must end instead of staying "failed".
        shared_table: where metrics are written; given where several worker processes share one.
        worker: number of this process among the workers.
        connections: how many client connections the server has open now.
        extension: routes and hooks; by default those of `service.py`.
    """

    def __init__(
        self,
        settings: Settings,
        on_fatal: Callable[[StartupError], None] = lambda error: None,
        shared_table: SharedTable | None = None,
        worker: int = 0,
        connections: Callable[[], int] = lambda: 0,
        extension: Extension | None = None,
    ) -> None:
        self._extension = extension = own_extension() if extension is None else extension
        self._metrics = Metrics(shared_table or make_shared_table(settings), connections)
        self.lifecycle = Lifecycle(self._metrics.set_state, self._metrics.states)
        self._release = read_release(_digest(settings), settings.git_revision)
        self._metrics.build(asdict(replace(self._release, description="")))
        revision = self._release.revision
        self._capture = (
            Capture(settings, self._metrics.capture, revision) if settings.capture else None
        )
        self.host = ModelHost(
            settings,
            self.lifecycle,
            self._metrics,
            on_fatal,
            self._arriving,
            worker,
            extension,
            self._capture.start if self._capture else lambda models: None,
        )
        own = [changed(each) for each in extension.own_settings]
        self._about = {
            "revision": self._release.revision,
            "worker": worker,
            "cpus": granted_cpus(),
            "settings": dict(ChainMap(changed(settings), *own)),
        }
        bodies = Bodies(settings.max_body_bytes, settings.max_bodies_bytes)
        self.api = api = create_api(
            lambda: self.release,
            self.host,
            self.lifecycle,
            self._metrics,
            settings,
            self._lifespan,
            extension,
            bodies,
            self._capture,
        )
        # Answers all but inference requests, and runs the lifespan.
        self.origins = Origins(settings.cors_origins)
        self.app = self.origins.around(HeadAsGet(api))
        self._telemetry = RequestTelemetry(self._metrics, self._lines(settings))
        self.inference = Inference(settings, self.host, self._telemetry, bodies, self._capture)
        self._open_exports = partial(open_exports, settings, self._release, self._metrics, worker)
        self._exports_telemetry = settings.exports_telemetry
        self._on_fatal = on_fatal

    def _arriving(self) -> int:
        """Requests that are being answered, and those that are likely to come with them."""
        return max(self._telemetry.open, self.inference.arrivals.estimate())

    def _lines(self, settings: Settings) -> Lines | None:
        dropped = self._metrics.requests.lines_dropped
        count_dropped(dropped)
        if not settings.log_requests_per_second:
            return None
        return RequestLines(settings, dropped, self._metrics.requests.answered)

    def connection_refused(self) -> None:
        """Count a client that was turned away."""
        self._metrics.requests.connection_refused()

    def give_up(self) -> None:
        """Answer what a stop does not wait for any longer."""
        self.host.give_up()

    @property
    def release(self) -> Release:
        """What is running; models that are fetched at the start are known once they are read."""
        models = self.host.models.values()
        if not self._release.model_digest and models:
            folders = [each.model.package.directory for each in models]
            digest = digest_of(sorted(folders, key=lambda folder: folder.name))
            self._release = replace(self._release, model_digest=digest)
        return self._release

    async def _load(self) -> None:
        # Before the models: from the first request that is answered, all are followed.
        if self._exports_telemetry:
            try:
                # Not in asyncio's own threads, for which a stop would have to wait.
                loop, thread = asyncio.get_running_loop(), ThreadPoolExecutor(1)
                self._telemetry.tracer = await loop.run_in_executor(thread, self._open_exports)
            except StartupError as error:
                self._on_fatal(error)
                return
        await self.host.load()
        self._metrics.build(asdict(replace(self.release, description="")))

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(self._load())
        self._metrics.ticker.start()
        log.info("starting", extra={"fields": self._about})
        yield
        self._metrics.ticker.stop()
        loading.cancel()
        self.inference.close()
        self.host.close()
        if self._extension.stops:
            await self._run_stop_hooks()
        if self._capture is not None:
            await asyncio.to_thread(self._capture.stop, FLUSH_SECONDS)
        if self._telemetry.tracer is not None:
            await asyncio.to_thread(self._telemetry.tracer.stop, FLUSH_SECONDS)

    async def _run_stop_hooks(self) -> None:
        # Not in asyncio's own threads, for which the end of the process would have to wait.
        loop, thread = asyncio.get_running_loop(), ThreadPoolExecutor(1)
        work = loop.run_in_executor(thread, run_stop_hooks, self._extension)
        try:
            await asyncio.wait_for(work, FLUSH_SECONDS)
        except TimeoutError:
            log.error("the stop hooks of service.py took longer than %g s", FLUSH_SECONDS)


def _digest(settings: Settings) -> str:
    if settings.model_uri:
        return ""  # not known before they are fetched
    try:
        return models_digest(Path(settings.models_dir))
    except PackageError:
        return ""  # loading will fail for the same reason, and say it


def make_shared_table(settings: Settings) -> SharedTable:
    """Room for the metrics of all workers and models."""
    try:
        models = len(find_packages(Path(settings.models_dir)))
    except PackageError:
        models = 0  # there are others to fetch; or loading will fail for the same reason
    models += len(settings.model_uri)
    return SharedTable(
        settings.workers, columns_for(models), numbers_for(models, settings.feedback)
    )
