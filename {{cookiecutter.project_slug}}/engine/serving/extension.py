"""What `service.py` uses: the engine's public interface, API version 1.

`service.py` creates one `Extension` named ``service`` and adds to it; docs/service.md has examples.
Nothing else of the engine is meant for it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TypeVar, cast

from fastapi import APIRouter
from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableSetting

from engine.serving.errors import InvalidInput, StartupError
from engine.serving.http.own_routes import OpenRoute, OwnRoute
from engine.serving.settings import Settings, faults_of
from engine.serving.tensors.datatypes import Array

__all__ = ["Array", "Arrays", "Extension", "Refused", "ServiceSettings"]

Arrays = Mapping[str, Array]
"""Numpy arrays by the names of the model's inputs or outputs. Text is an object array of ``str``.
They are read-only: return new ones."""
RequestHook = Callable[[str, Arrays], Arrays | None]
AnswerHook = Callable[[str, Arrays, Arrays], Arrays | None]
Hook = Callable[[], None]


class Refused(InvalidInput):
    """Raised by a hook, it is the answer to that one request: 422 with this sentence.

    Args:
        message: one sentence with the value and the way out; the client reads it.
        field: where in the request the fault is.
        rule: the rule that was broken.
    """

    code = "refused"


class ServiceSettings(BaseSettings):
    """Settings of your own. A field's name in capitals is the environment variable.

    Every field needs a default, with which the image is built, and a description. A secret has the
    type ``pydantic.SecretStr``: its value is never shown. Lists and mappings are written as JSON.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)


S = TypeVar("S", bound=ServiceSettings)
R = TypeVar("R", bound=RequestHook)
A = TypeVar("A", bound=AnswerHook)
H = TypeVar("H", bound=Hook)
F = TypeVar("F")


class Extension:
    """Routes, settings and hooks of one service.

    ``routes`` takes FastAPI routes that ask for an API key where inference does; those of
    ``open_routes`` never ask for one. Both answer once the service is ready.
    """

    def __init__(self) -> None:
        self.routes = APIRouter(route_class=OwnRoute)
        self.open_routes = APIRouter(route_class=OpenRoute)
        self.own_settings: list[ServiceSettings] = []
        self.setting_faults: list[str] = []
        self.requests: list[RequestHook] = []
        self.answers: list[AnswerHook] = []
        self.starts: list[Hook] = []
        self.stops: list[Hook] = []

    def settings(self, model: type[S]) -> S:
        """The values of your settings, from the environment.

        Where one breaks its rule these are the defaults: the rest of `service.py` is run, so that
        the service reports all faults at once, and it does not start.

        Raises:
            StartupError: a field has no default, or the name of a setting of the engine.
        """
        for name, field in model.model_fields.items():
            if name in Settings.model_fields:
                raise StartupError(f"{name.upper()} is a setting of the engine; rename yours")
            if field.is_required():
                raise StartupError(f"{name.upper()} has no default; the image is built with it")
        try:
            values = model()
        except (ValidationError, UnreadableSetting) as error:
            if isinstance(error, ValidationError):
                self.setting_faults += faults_of(error, model)
            else:
                self.setting_faults.append(f'{error}; write it as JSON, for example ["a", "b"]')
            return cast("S", model.model_construct())
        self.own_settings.append(values)
        return values

    def request(self, hook: R) -> R:
        """Decorator: call ``hook(model, inputs)`` before the model computes, for every request.

        It gets the model's name and the request's inputs, already checked. It may raise `Refused`.
        What it returns replaces inputs of the same names; None changes nothing.
        """
        self.requests.append(_ordinary(hook))
        return hook

    def answer(self, hook: A) -> A:
        """Decorator: call ``hook(model, inputs, outputs)`` before the answer is sent.

        It may raise `Refused`. What it returns replaces outputs of the same names, or adds new
        ones with one element or row for each row of the request; None changes nothing. An output
        that is added must come with every answer of that model.
        """
        self.answers.append(_ordinary(hook))
        return hook

    def start(self, hook: H) -> H:
        """Decorator: call ``hook()`` once in each process, after the models are checked.

        The service is ready afterwards, and fails if the hook raises. It runs in `make check` and
        in the image's build as well.
        """
        self.starts.append(_ordinary(hook))
        return hook

    def stop(self, hook: H) -> H:
        """Decorator: call ``hook()`` when the process stops, for at most a second."""
        self.stops.append(_ordinary(hook))
        return hook

    @property
    def has_hooks(self) -> bool:
        """Whether requests or answers pass through hooks."""
        return bool(self.requests or self.answers)


def _ordinary(hook: F) -> F:
    if inspect.iscoroutinefunction(hook):
        raise StartupError(f"the hook {hook.__name__} is async; write an ordinary function")
    return hook
