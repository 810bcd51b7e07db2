"""Load `service.py`, the owner's part of the service."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from functools import cache
from pathlib import Path
from types import ModuleType

from engine.serving.api_version import api_fault
from engine.serving.errors import SettingsError, StartupError
from engine.serving.extension import Extension
from engine.serving.http.own_routes import route_faults
from engine.serving.package.digest import SERVICE_FILE


def load_service_file(path: Path = SERVICE_FILE) -> Extension:
    """Run the file and return what it adds to the service; nothing where there is no such file.

    Raises:
        SettingsError: settings of the owner's break their rules.
        StartupError: it does not fit this engine, cannot be run, or takes a route of the engine's.
    """
    if not path.exists():
        return Extension()
    fault = api_fault(path)
    if fault is not None:
        raise StartupError(fault)
    extension = getattr(_run(path), "service", None)
    if not isinstance(extension, Extension):
        raise StartupError(f"{path}: must define service = Extension()")
    if extension.setting_faults:
        raise SettingsError(extension.setting_faults)
    faults = list(route_faults((extension.routes, extension.open_routes)))
    if faults:
        raise StartupError(f"{path}: {'; '.join(faults)}")
    return extension


# Once in a process, and before worker processes are forked.
own_extension = cache(load_service_file)


def _run(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise StartupError(f"{path}: is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pydantic look their module up by name.
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except StartupError as error:
        if type(error) is StartupError:
            raise StartupError(f"{path}: {error}") from None
        raise
    # SystemExit too, which would end the process without a word.
    except (Exception, SystemExit) as error:
        lines = [each.lineno for each in traceback.extract_tb(error.__traceback__)
                 if each.filename == str(path)]  # fmt: skip
        where = f", line {lines[-1]}" if lines else ""
        fix = ""
        if isinstance(error, ModuleNotFoundError):
            fix = (
                "; the image has the packages of requirements/serve-cpu.in, and of this repository "
            )
            fix += "engine/ and service.py only: add the package there and run `make lock`"
        told = f"{path}{where}: {type(error).__name__}: {error}{fix}"
        extension = getattr(module, "service", None)
        if isinstance(extension, Extension) and extension.setting_faults:
            # What the file did with the defaults may be why it failed.
            raise SettingsError([*extension.setting_faults, told]) from error
        raise StartupError(told) from error
    return module
