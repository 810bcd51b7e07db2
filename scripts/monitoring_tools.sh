#!/usr/bin/env bash
# Makes Prometheus and its promtool usable, which check, test and run engine/monitoring/.
#
#   scripts/monitoring_tools.sh install|status    see scripts/debian_programs.sh
set -euo pipefail

exec "$(dirname "${BASH_SOURCE[0]}")/debian_programs.sh" "${1:-install}" "monitoring tools" \
    prometheus promtool=prometheus
