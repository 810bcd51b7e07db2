"""`python -m engine.packaging`: make a model package of what you have."""

from __future__ import annotations

import sys

from engine.serving.installed import locked_packages

with locked_packages(".venv/.train"):
    from engine.packaging.package import main
    from engine.serving.proxies import keep_local_direct

keep_local_direct()
sys.exit(main())
