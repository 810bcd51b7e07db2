"""`python -m engine.packaging`: make a model package of what you have."""

from __future__ import annotations

import sys

from engine.packaging.package import main

sys.exit(main())
