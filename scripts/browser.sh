#!/usr/bin/env bash
# Makes the browser usable that looks at the page at /: one of these on PATH, or Debian's Chromium.
#
#   scripts/browser.sh install|status    see scripts/debian_programs.sh
set -euo pipefail

for program in google-chrome chromium-browser chromium; do
    command -v "$program" >/dev/null && break
done
exec "$(dirname "${BASH_SOURCE[0]}")/debian_programs.sh" "${1:-install}" "browser" \
    "$program=chromium"
