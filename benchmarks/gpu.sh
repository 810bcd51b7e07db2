#!/usr/bin/env bash
# Check and measure the CUDA path on a machine with an NVIDIA GPU; needs Python 3.11+ with pip.
#
#   benchmarks/gpu.sh                  renders a service, installs its GPU locks, makes some models,
#                                      checks what must hold on a GPU, and measures: runs of the
#                                      models, then answers of the whole service, beside the CPU
#   benchmarks/gpu.sh models FOLDER    only makes the models, on any machine
#
# Where no package index can be reached, these variables say what is there already:
#   WHEELS=FOLDER   wheels of requirements/render.txt and the service's requirements/serve-gpu.txt
#   MODELS=FOLDER   models that were made elsewhere
#   CUDA=installed  the loader finds CUDA 13 and cuDNN 9; requirements/cuda.txt is not installed
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
readonly ROOT WHEELS="${WHEELS:-}" CUDA="${CUDA:-locked}"
WORK="$(mktemp -d)"
readonly WORK
trap 'rm -rf "$WORK"' EXIT
export ORT_DISABLE_TELEMETRY=1

say() { printf 'gpu: %s\n' "$*"; }

pip_into() { # pip_into VENV ARGUMENTS...
    python3 -m pip --python "$1/bin/python" install --quiet --disable-pip-version-check --no-deps "${@:2}"
}

environment() { # environment VENV REQUIREMENTS...
    local venv=$1 file
    shift
    # Debian makes environments with a pip of their own only where python3-venv is installed.
    python3 -m venv --without-pip "$venv"
    for file in "$@"; do
        if [[ -n "$WHEELS" ]]; then
            sed -E '/^ *--hash/d; s/ *\\$//' "$file" >"$WORK/unhashed.txt"
            pip_into "$venv" --no-index --find-links "$WHEELS" --requirement "$WORK/unhashed.txt"
        else
            pip_into "$venv" --require-hashes --requirement "$file"
        fi
    done
}

render() {
    say "rendering"
    environment "$WORK/render" "$ROOT/requirements/render.txt"
    "$WORK/render/bin/python" -m cookiecutter --no-input --output-dir "$WORK" "$ROOT" \
        runs_on=containerapps-t4 >/dev/null
    cd "$WORK/iris-service"
    export PYTHONPATH="$PWD:$ROOT"
}

make_models() { # make_models FOLDER
    say "making the models"
    environment "$WORK/train" requirements/train.txt
    "$WORK/train/bin/python" -m benchmarks.gpu.models "$1" >/dev/null
}

if [[ "${1:-}" == models ]]; then
    mkdir -p "${2:?where to?}"
    folder="$(cd "$2" && pwd)"
    render
    make_models "$folder"
    exit
fi

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader ||
    { say "no NVIDIA GPU here"; exit 3; }
models="${MODELS:-$WORK/models}"
render
[[ -n "${MODELS:-}" ]] || make_models "$models"
say "installing the GPU locks"
locks=(requirements/serve-gpu.txt)
[[ "$CUDA" == installed ]] || locks+=(requirements/cuda.txt)
environment "$WORK/venv" "${locks[@]}"
failed=0
for each in checks runtime service; do
    say "$each"
    "$WORK/venv/bin/python" -m "benchmarks.gpu.$each" "$models" || failed=1
done
exit "$failed"
