#!/usr/bin/env bash
# Makes the programs usable that the Azure double and its tests run beside Python: GitHub's `gh`,
# and `docker-registry`, the registry behind the double's. `az` comes from requirements/azure.txt.
#
#   scripts/azure_tools.sh install    find them, or install Debian's; idempotent
#   scripts/azure_tools.sh status     say where they are
#
# Exit codes: 0 done, 1 it should have worked and did not, 2 usage, 3 not possible on this machine
# (the message says what to install).
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
readonly ROOT
readonly LOG_FILE="$ROOT/build/azure-tools.log"
readonly TOOLS=(gh docker-registry)
readonly IMPOSSIBLE=3

say() { printf 'azure tools: %s\n' "$*" >&2; }

missing() {
    local tool
    for tool in "${TOOLS[@]}"; do
        command -v "$tool" >/dev/null || printf '%s\n' "$tool"
    done
}

can_install() { [[ "$(id -u)" == 0 && -f /etc/debian_version ]] && command -v apt-get >/dev/null; }

install() {
    local wanted
    mapfile -t wanted < <(missing)
    if ((${#wanted[@]} == 0)); then return 0; fi
    if ! can_install; then
        say "missing: ${wanted[*]}; installing them needs root on Debian or Ubuntu"
        say "way out: install them (gh: https://cli.github.com; docker-registry: the registry of"
        say "the distribution project, a program of that name on PATH) and run this again."
        exit "$IMPOSSIBLE"
    fi
    mkdir -p "$ROOT/build"
    say "installing Debian's ${wanted[*]} (log: $LOG_FILE)"
    {
        apt-get update
        # The package would start a registry of its own as a service.
        DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install --yes \
            --no-install-recommends "${wanted[@]}"
    } >"$LOG_FILE" 2>&1 || {
        tail -n 5 "$LOG_FILE" >&2
        say "apt-get could not install ${wanted[*]}"
        exit 1
    }
}

status() {
    local tool
    for tool in "${TOOLS[@]}"; do
        say "$tool: $(command -v "$tool" || echo missing)"
    done
    [[ -z "$(missing)" ]]
}

case "${1:-install}" in
install | status) "${1:-install}" ;;
*)
    say "unknown action \"$1\"; one of install, status"
    exit 2
    ;;
esac
