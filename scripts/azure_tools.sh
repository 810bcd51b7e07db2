#!/usr/bin/env bash
# Makes the programs usable that the Azure double and its tests run beside Python: GitHub's `gh`,
# and `docker-registry`, the registry behind the double's. `az` comes from requirements/azure.txt.
#
#   scripts/azure_tools.sh install|status    see scripts/debian_programs.sh
set -euo pipefail

exec "$(dirname "${BASH_SOURCE[0]}")/debian_programs.sh" "${1:-install}" "azure tools" \
    gh docker-registry
