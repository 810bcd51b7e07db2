#!/usr/bin/env bash
# Makes programs usable that tests run beside Python, by installing Debian's where they are missing.
#
#   scripts/debian_programs.sh install WHAT PROGRAM[=PACKAGE]…    find them, or install; idempotent
#   scripts/debian_programs.sh status WHAT PROGRAM[=PACKAGE]…     say where they are
#
# WHAT begins each message. Exit codes: 0 done, 1 it should have worked and did not, 2 usage, 3 not
# possible on this machine (the message says what to install).
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
readonly ROOT
readonly IMPOSSIBLE=3

say() { printf '%s: %s\n' "$WHAT" "$*" >&2; }

# The packages of the programs that are not on PATH.
missing() {
    local each
    for each in "${PROGRAMS[@]}"; do
        command -v "${each%%=*}" >/dev/null || printf '%s\n' "${each#*=}"
    done | sort -u
}

# root, or in CI whoever may become root without being asked.
can_install() {
    [[ -f /etc/debian_version ]] && command -v apt-get >/dev/null || return 1
    if [[ "$(id -u)" == 0 ]]; then AS_ROOT=(env); return 0; fi
    AS_ROOT=(sudo -n)
    [[ -n "${CI:-}" ]] && sudo -n true 2>/dev/null
}

install() {
    local wanted log="$ROOT/build/${WHAT// /-}.log"
    mapfile -t wanted < <(missing)
    if ((${#wanted[@]} == 0)); then return 0; fi
    if ! can_install; then
        say "missing: ${wanted[*]}; installing them needs root on Debian or Ubuntu"
        say "way out: put them on PATH (Debian: apt install ${wanted[*]}) and run this again"
        exit "$IMPOSSIBLE"
    fi
    mkdir -p "$ROOT/build"
    say "installing Debian's ${wanted[*]} (log: $log)"
    {
        "${AS_ROOT[@]}" apt-get update
        # Packages of servers would start one of their own as a service. Another apt is waited for.
        "${AS_ROOT[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get \
            -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends "${wanted[@]}"
    } >"$log" 2>&1 || {
        tail -n 5 "$log" >&2
        say "apt-get could not install ${wanted[*]}"
        exit 1
    }
}

status() {
    local each
    for each in "${PROGRAMS[@]}"; do
        say "${each%%=*}: $(command -v "${each%%=*}" || echo missing)"
    done
    [[ -z "$(missing)" ]]
}

if (($# < 3)) || [[ "$1" != install && "$1" != status ]]; then
    echo "usage: scripts/debian_programs.sh install|status WHAT PROGRAM[=PACKAGE]…" >&2
    exit 2
fi
ACTION=$1 WHAT=$2
readonly ACTION WHAT PROGRAMS=("${@:3}")
"$ACTION"
