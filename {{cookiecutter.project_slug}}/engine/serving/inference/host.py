"""The models of this process: loaded in the background, found by name, each behind its batcher."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from engine.serving import heap
from engine.serving.errors import NotFound, NotReady, ProviderError, StartupError, quoted
from engine.serving.fault import fault_of
from engine.serving.inference.batcher import Batcher
from engine.serving.inference.model import Model, load_models
from engine.serving.inference.profile import Profile
from engine.serving.inference.queue import Limits
from engine.serving.inference.recording import recorded
from engine.serving.inference.searches import Searches
from engine.serving.inference.service_hooks import Hooks, ServiceHooks, run_start_hooks
from engine.serving.lifecycle import Lifecycle, State
from engine.serving.metrics.process import started
from engine.serving.metrics.service import Metrics
from engine.serving.package.answers import Answers
from engine.serving.package.manifest import tells_class
from engine.serving.reference.counting import Counter
from engine.serving.reference.feedback import Feedback
from engine.serving.request import Inputs, Request
from engine.serving.runtimes.base import DeviceLost
from engine.serving.runtimes.cpu import granted_cpus
from engine.serving.settings import Settings
from engine.serving.tensors.datatypes import Array

log = logging.getLogger(__name__)

# A run that has not ended for so long is stuck, or for twice REQUEST_TIMEOUT_SECONDS, or for ten
# times as long as expected, whichever is longest: the process is not live until it ends.
STUCK_SECONDS = 30.0
# Runs of a model on a GPU at the same time: one computes, and the next one's rows are put together.
GPU_LANES = 2


def shutting_down() -> NotReady:
    """The answer to a request that a stop does not wait for any longer."""
    return NotReady(
        "the service is shutting down and did not finish the request; try again",
        rule="DRAIN_SECONDS",
        retry_after=1,
    )


class ServedModel:
    """A model and the queue in front of it."""

    # Counts how often its classes were right, where that is wanted.
    feedback: Feedback | None = None

    def __init__(self, model: Model, batcher: Batcher, timeout: float) -> None:
        self.model = model
        self._batcher = batcher
        self._timeout = timeout

    def refuse_if_full(self, text: bytes | None) -> None:
        """See ``RequestQueue.admit_unread``."""
        if self._batcher.queue:
            self._batcher.queue.admit_unread(text)

    def post(self, request: Request) -> None:
        """Check the inputs of a request and compute its answer, at once or when it is its turn.

        Args:
            request: with named arrays as ``inputs``, or with rows that were checked while they
                were read. See ``Batcher.post``.

        Raises:
            RequestError: the inputs break the signature, or the queue cannot take them.
        """
        request.rows = self._check(request.inputs)
        request.deadline = time.perf_counter() + self._timeout
        self._batcher.post(request)

    def give_up(self) -> None:
        """Answer all requests that still wait: the process ends now."""
        self._batcher.give_up(shutting_down)

    def close(self) -> None:
        """Release what it runs on beside the compute threads."""
        self._batcher.close()

    def _check(self, inputs: Inputs) -> int:
        return len(inputs) if isinstance(inputs, list) else self.model.signature.check(inputs)


def _cause(error: StartupError) -> dict[str, object]:
    """For the log, what of other code led to an error; with its message where those are logged."""
    cause: BaseException | None = error
    while isinstance(cause, StartupError):
        cause = cause.__cause__
    if cause is None:
        return {}
    with_messages = log.isEnabledFor(logging.DEBUG)
    return {"fields": {"exception": fault_of(cause).text(with_messages=with_messages)}}


class ModelHost:
    """Loads the models and keeps them.

    Args:
        on_fatal: called when the process must not go on, because the models would run on another
            execution provider than the one that was asked for.
        in_flight: how many requests the server is answering now.
        worker: number of this process, and so of the GPU that it takes.
        extension: the hooks of `service.py`.
        check: called with the models before they are served; raises ``StartupError``.
    """

    def __init__(
        self,
        settings: Settings,
        lifecycle: Lifecycle,
        metrics: Metrics,
        on_fatal: Callable[[StartupError], None],
        in_flight: Callable[[], int],
        worker: int = 0,
        extension: Hooks | None = None,
        check: Callable[[Sequence[Model]], None] = lambda models: None,
    ) -> None:
        self._extension = extension
        self._check = check
        self._in_flight = in_flight
        self._worker = worker
        self._settings = settings
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._on_fatal = on_fatal
        self._cpus = granted_cpus()
        threads = settings.compute_lanes or max(self._cpus, GPU_LANES)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="compute")
        self._models: dict[str, ServedModel] = {}
        self._stuck_models: set[str] = set()

    async def load(self) -> None:
        """Load, verify and warm up every model, then say ready; or say why not."""
        try:
            # Not in asyncio's own threads, for which a stop would have to wait.
            loop = asyncio.get_running_loop()
            loaded = await loop.run_in_executor(self._executor, self._load_and_warm_up)
            for model, profile, answers in loaded:
                self._serve(model, profile, answers)
        except ProviderError as error:
            self._lifecycle.fail(str(error))
            self._on_fatal(error)
        except StartupError as error:
            self._lifecycle.fail(str(error))
            log.error("not ready: %s", error, extra=_cause(error))
        except Exception:
            self._lifecycle.fail("models could not be loaded: unexpected error, see the log")
            log.exception("not ready: unexpected error while loading models")
        else:
            heap.settle()
            self._lifecycle.set_ready()
            log.info("ready", extra={"fields": self._facts()})

    def _facts(self) -> dict[str, object]:
        facts: dict[str, object] = {"models": sorted(self._models)}
        began = started(os.getpid())
        if began is not None:
            facts["seconds"] = round(time.time() - began, 2)
        if devices := self._metrics.device.names():
            facts["devices"] = devices
        return facts

    def give_up(self) -> None:
        """Answer all requests that still wait: the process ends now."""
        for served in self._models.values():
            served.give_up()

    def close(self) -> None:
        """Release the compute threads."""
        for served in self._models.values():
            served.close()
        self._executor.shutdown(wait=False, cancel_futures=True)

    @property
    def models(self) -> Mapping[str, ServedModel]:
        """All models by name; empty until they are ready."""
        return self._models

    def get(self, name: str | None, version: str | None = None) -> ServedModel:
        """Find a model.

        Args:
            name: its name; None means the default one.
            version: its version, where the caller cares.

        Raises:
            NotReady: the models are not loaded, or the process failed.
            NotFound: there is no such model or version.
        """
        if not self._models or self._lifecycle.state is State.LOST:
            raise NotReady(
                f"the service is {self._lifecycle.state.value}: {self._lifecycle.reason}",
                retry_after=1,
            )
        served = self.default() if name is None else self._models.get(name)
        if served is None and name is None:
            raise NotFound(
                "/predict has no default model; set DEFAULT_MODEL to one of "
                f"{sorted(self._models)}, or ask /predict/<name>"
            )
        if served is None:
            raise NotFound(
                f"there is no model {quoted(name or '')}; there are {sorted(self._models)}"
            )
        if version is not None and version != served.model.manifest.version:
            raise NotFound(
                f"model {served.model.name!r} has no version {quoted(version)}; it has "
                f"{served.model.manifest.version!r}"
            )
        return served

    def default(self) -> ServedModel | None:
        """The model behind ``/predict``: the one that was set, or the only one."""
        if self._settings.default_model is not None:
            return self._models.get(self._settings.default_model)
        return next(iter(self._models.values())) if len(self._models) == 1 else None

    def _watched(self, model: Model) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
        """The model's run, with an eye on the device; called on any thread."""
        loop = asyncio.get_running_loop()

        def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
            try:
                return model.run(inputs)
            except DeviceLost as error:
                reason = f"the device of model {model.name!r} is lost: {error}"
                loop.call_soon_threadsafe(self._lose, reason)
                raise

        return run

    def _lose(self, reason: str) -> None:
        # Every request that follows fails for the same reason; once is enough.
        if self._lifecycle.ready:
            log.error("not ready: %s", reason)
        self._lifecycle.lose(reason)

    def watch(self, name: str, reason: str | None) -> None:
        """A model does not answer any more, for this reason; None: it does again."""
        if reason is not None:
            self._stuck_models.add(name)
            log.error("not live: model %r does not answer: %s", name, reason)
            self._lifecycle.lose(f"model {name!r} does not answer: {reason}", for_good=False)
            return
        log.warning("model %r answers again", name)
        self._stuck_models.discard(name)
        if not self._stuck_models:
            self._lifecycle.recover()

    def _load_and_warm_up(self) -> list[tuple[Model, Profile, Answers | None]]:
        def verified(name: str, passed: bool) -> None:
            self._metrics.observer(name).verified(passed)

        models = load_models(self._settings, self._worker, verified)
        self._check(models)
        if any(model.provider == "cuda" for model in models):
            self._metrics.device.use()
        profiles = [model.warm_up(self._settings.max_batch_rows) for model in models]
        # After the models were compared with their training, as they are without hooks.
        answers: list[Answers | None] = [None] * len(models)
        hooks = self._extension
        if hooks is not None:
            run_start_hooks(hooks)
            if hooks.has_hooks:
                answers = [recorded(model, hooks) for model in models]
        return list(zip(models, profiles, answers, strict=True))

    def _serve(self, model: Model, profile: Profile, answers: Answers | None) -> None:
        settings = self._settings
        limits = Limits(
            batch_rows=settings.max_batch_rows,
            queue_rows=settings.max_queue_rows,
            queue_bytes=settings.max_queue_bytes,
            queue_seconds=settings.max_queue_seconds,
            lanes=settings.compute_lanes or (GPU_LANES if model.provider == "cuda" else self._cpus),
            stuck_seconds=max(STUCK_SECONDS, 2 * settings.request_timeout_seconds),
        )
        observer = self._metrics.observer(model.name)
        run = self._watched(model)
        reference = model.package.reference if settings.drift else None
        if reference is not None:
            missing = {each.name: each.missing for each in model.manifest.inputs}
            run = observer.compare_with(Counter(reference, missing)).recorded(run)
        batcher = Batcher(
            run,
            model.signature,
            limits,
            profile,
            self._executor,
            observer,
            self._in_flight,
            # What a model's own code costs may depend on the values.
            inline=model.manifest.code_file is None,
            on_stuck=partial(self.watch, model.name),
            name=model.name,
            searches=Searches(model),
        )
        observer.watch(batcher.load)
        observer.fell_back(settings.execution_providers[0] == "cuda" and model.provider == "cpu")
        fields = {
            "model": model.name,
            "batch_rows": profile.batch_rows,
            "lanes": limits.lanes,
        }
        log.info(
            "%s: batches of up to %s rows", model.name, profile.batch_rows, extra={"fields": fields}
        )
        timeout = settings.request_timeout_seconds
        if answers is None or self._extension is None:
            self._models[model.name] = ServedModel(model, batcher, timeout)
        else:
            # Imported here, because it extends this module.
            from engine.serving.inference.hooked import HookedModel

            on_stuck = partial(self.watch, model.name)
            hooks = ServiceHooks(self._extension, model.manifest, answers)
            model.answer_as(answers.manifest(model.manifest), answers.first)
            self._models[model.name] = HookedModel(
                model, batcher, timeout, hooks, answers, limits, on_stuck
            )
        labels = next((each.labels for each in model.manifest.outputs if tells_class(each)), ())
        if settings.feedback and labels:
            self._models[model.name].feedback = observer.take_feedback(
                labels, settings.feedback_accuracy, settings.feedback
            )
        self._metrics.model(
            model.name, model.manifest.version, model.provider, model.package.digest
        )
