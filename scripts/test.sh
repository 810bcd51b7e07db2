#!/usr/bin/env bash
# The tests, in two tiers: `fast` (rendering and the rendered service's own suite) and `full`
# (also images, README commands and demos). `make test` calls this; PYTHON names the interpreter.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly TIER=${1:-full}
readonly IMPOSSIBLE=3

if [[ "$TIER" == fast ]]; then
    exec .venv/bin/python -m pytest -m "not slow"
fi

# Docker, or a loud word that the tests of images cannot run here. Where CI says that everything
# must run, their absence is a failure.
status=0
scripts/docker_engine.sh start >/dev/null && scripts/base_image.sh || status=$?
if ((status == IMPOSSIBLE)) && [[ -z "${CI:-}" ]]; then
    echo "WARNING: no Docker here, so the tests of the images are SKIPPED; see above" >&2
    export ACI_ML_DOCKER=absent
elif ((status != 0)); then
    exit "$status"
fi
exec .venv/bin/python -m pytest
