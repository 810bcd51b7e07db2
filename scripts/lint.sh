#!/usr/bin/env bash
# Format, style, types, shell scripts and the Dockerfile, of the template and of what it renders.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly BIN="$PWD/.venv/bin"

"$BIN/ruff" format --check .
"$BIN/ruff" check .
"$BIN/mypy"
"$BIN/shellcheck" scripts/*.sh benchmarks/*.sh .ci/run
rendered=$(mktemp -d)
trap 'rm -rf "$rendered"' EXIT
"$BIN/cookiecutter" --no-input --output-dir "$rendered" . >/dev/null
"$BIN/hadolint" "$rendered"/*/Dockerfile "$rendered"/*/engine/edge/Dockerfile
"$BIN/ruff" format --check "$rendered"
(cd "$rendered"/*/ && "$BIN/ruff" check .)
