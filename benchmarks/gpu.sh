#!/usr/bin/env bash
# Check and measure the CUDA path on a machine with an NVIDIA GPU; needs Python 3.11+ and nothing else.
#
#   benchmarks/gpu.sh [WHEELS]     WHEELS: a folder of wheels, where no package index can be reached
#
# Renders a service, installs its GPU locks, serves a dense net on CUDA and on the CPU, compares the
# answers of both with the golden record, and prints rows per second and latency for some batch sizes.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
readonly ROOT
readonly WHEELS="${1:-}"
WORK="$(mktemp -d)"
readonly WORK
trap 'rm -rf "$WORK"' EXIT
export ORT_DISABLE_TELEMETRY=1

say() { printf 'gpu: %s\n' "$*"; }

install() { # install VENV REQUIREMENTS...
    local venv=$1 file
    shift
    for file in "$@"; do
        if [[ -n "$WHEELS" ]]; then
            "$venv/bin/python" -m pip install --quiet --no-index --find-links "$WHEELS" --no-deps \
                --requirement <(sed -E '/^ *--hash/d; s/ *\\$//' "$file")
        else
            "$venv/bin/python" -m pip install --quiet --require-hashes --no-deps --requirement "$file"
        fi
    done
}

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader ||
    { say "no NVIDIA GPU here"; exit 3; }

say "rendering"
python3 -m venv "$WORK/render"
install "$WORK/render" "$ROOT/requirements/render.txt"
"$WORK/render/bin/cookiecutter" --no-input --output-dir "$WORK" "$ROOT" runs_on=containerapps-t4 \
    >/dev/null
service="$WORK/iris-service"

say "installing the GPU locks"
python3 -m venv "$WORK/venv"
install "$WORK/venv" "$service/requirements/serve-gpu.txt" "$service/requirements/cuda.txt"

say "making the dense and the convolutional net"
python3 -m venv "$WORK/train"
install "$WORK/train" "$service/requirements/train.txt"
cd "$service"
PYTHONPATH="$service" "$WORK/train/bin/python" "$ROOT/benchmarks/make_models.py" "$WORK/models" >/dev/null

say "golden check and speed, on CUDA and on the CPU"
PYTHONPATH="$service" "$WORK/venv/bin/python" "$ROOT/benchmarks/gpu_runtime.py" "$WORK/models"
