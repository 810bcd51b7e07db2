"""Yours: routes, settings, and hooks of this service. docs/service.md shows an example of each.

The engine runs this file when the service starts, in `make check` and in the image's build. It may
import what requirements/serve-cpu.in lists, and of the engine `engine.serving.extension` only.
"""

from __future__ import annotations

from engine.serving.extension import Extension

# The version of the interface that this file uses.
API = 1

service = Extension()
