#!/usr/bin/env bash
# Makes the programs usable that the Azure double and its tests run beside Python: GitHub's `gh`,
# `docker-registry`, the registry behind the double's, and `npm` with Node.js, in which Microsoft's
# parser of Kusto queries runs. `az` comes from requirements/azure.txt.
#
#   scripts/azure_tools.sh install|status    see scripts/debian_programs.sh
set -euo pipefail

exec "$(dirname "${BASH_SOURCE[0]}")/debian_programs.sh" "${1:-install}" "azure tools" \
    gh docker-registry npm
