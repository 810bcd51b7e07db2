#!/usr/bin/env bash
# Makes Caddy and nginx usable, which tests put in front of the service, and Pebble, the authority
# that signs Caddy's certificates there.
#
#   scripts/proxies.sh install|status    see scripts/debian_programs.sh
set -euo pipefail

exec "$(dirname "${BASH_SOURCE[0]}")/debian_programs.sh" "${1:-install}" "proxies" \
    caddy nginx=nginx-light pebble pebble-challtestsrv=pebble
