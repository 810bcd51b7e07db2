#!/usr/bin/env bash
# The tests, in three tiers: `fast` (rendering, and the machinery in a rendered service), `full` (also
# images, README commands and demos) and `all` (also what is marked exhaustive, and more examples).
# `make test` calls this; PYTHON names the interpreter.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly TIER=${1:-full}
readonly IMPOSSIBLE=3

# Programs that the tests call beside Python's own.
missing=()
for tool in git curl strace ssh; do
    command -v "$tool" >/dev/null || missing+=("${tool/#ssh/openssh-client}")
done
if ((${#missing[@]})) && [[ "$(id -u)" == 0 ]] && command -v apt-get >/dev/null; then
    echo "installing ${missing[*]}" >&2
    { apt-get update && apt-get -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends "${missing[@]}"; } >/dev/null
elif ((${#missing[@]})); then
    echo "error: the tests need ${missing[*]}; install it (Debian: apt install ${missing[*]})" >&2
    exit 1
fi

# Byte code is kept, also where the environment says otherwise, and beside no source: hundreds of
# services start here, and each would compile the engine.
unset PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX="$PWD/build/bytecode"
rm -rf "$PYTHONPYCACHEPREFIX/tmp"

# The tests of the machinery have an environment of their own. Their output comes after the others'.
if [[ "$TIER" == fast ]]; then
    export ACI_ML_FAST=1
    log=$(mktemp)
    .venv/bin/python -m scripts.test_engine -q -n 2 --dist loadfile -m "not slow and not exhaustive" >"$log" 2>&1 &
    machinery=$!
    # A trap obeys errexit: without `|| true` the process that has ended would be the script's status.
    trap 'kill "$machinery" 2>/dev/null || true; rm -f "$log"' EXIT
    status=0
    .venv/bin/python -m pytest -m "not slow and not exhaustive" || status=1
    wait "$machinery" || status=1
    cat "$log"
    exit "$status"
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
# Likewise the programs of the deploys to the Azure double, Prometheus, proxies and a browser.
offer() { # SCRIPT VARIABLE WORDS: install, or say aloud what is not tested
    local status=0
    "scripts/$1" install || status=$?
    if ((status == IMPOSSIBLE)) && [[ -z "${CI:-}" ]]; then
        echo "WARNING: $3; see above" >&2
        export "$2=absent"
    elif ((status != 0)); then
        exit "$status"
    fi
}
offer azure_tools.sh ACI_ML_AZURE_TOOLS "gh, docker-registry or npm is missing: deploys are NOT TESTED"
offer monitoring_tools.sh ACI_ML_PROMETHEUS "no Prometheus: dashboard and alerts are NOT TESTED"
offer proxies.sh ACI_ML_PROXIES "no Caddy or nginx: the service behind a proxy is NOT TESTED"
offer browser.sh ACI_ML_BROWSER "no Chromium: the page at / is NOT TESTED"

# Several processes, since most tests wait for containers and commands. A file stays in one of them:
# its tests share what they have built; tests/conftest.py says which files begin.
chosen=(--dist loadfile)
if [[ "$TIER" == all ]]; then export ACI_ML_ALL=1; else chosen+=(-m "not exhaustive"); fi
status=0
.venv/bin/python -m pytest -n 3 "${chosen[@]}" --no-loadscope-reorder || status=1
.venv/bin/python -m scripts.test_engine -q -n 2 "${chosen[@]}" || status=1
exit "$status"
