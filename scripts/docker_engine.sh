#!/usr/bin/env bash
# Makes a Docker engine usable for the tests, and puts away again what it started.
#
#   scripts/docker_engine.sh start    find an engine, or install and start Debian's; idempotent
#   scripts/docker_engine.sh stop     stop the engine that `start` started, and no other
#   scripts/docker_engine.sh status   say what answers
#
# `start` prints one line on stdout, the path of a client that can build with BuildKit, and
# writes the same as DOCKER=… into build/docker.env for `make` and for shells. Progress goes
# to stderr. Exit codes: 0 done, 1 it should have worked and did not, 2 usage,
# 3 not possible on this machine (the message says what to install).
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
readonly ROOT
readonly STATE="$ROOT/build"
readonly ENV_FILE="$STATE/docker.env"
readonly PID_FILE="$STATE/dockerd.pid"
readonly LOG_FILE="$STATE/dockerd.log"
readonly IMPOSSIBLE=3
readonly START_SECONDS=60

say() { printf 'docker: %s\n' "$*" >&2; }

impossible() {
    say "$1"
    say "way out: install Docker 20.10 or newer with BuildKit (Debian: docker.io; elsewhere:"
    say "Docker Desktop, or Docker Engine with its buildx plugin), start it, let this user"
    say "reach it (group \"docker\", or DOCKER_HOST), and run this again."
    exit "$IMPOSSIBLE"
}

# Clients in the order of preference. The distribution's own client stands before the one on
# PATH because a newer client found there may lack buildx, and then cannot build at all.
clients() {
    local client
    for client in "${DOCKER:-}" /usr/bin/docker "$(command -v docker || true)"; do
        if [[ -n "$client" ]] && command -v "$client" >/dev/null; then
            command -v "$client"
        fi
    done | awk '!seen[$0]++'
}

answers() { timeout 10 "$1" info >/dev/null 2>&1; }

any_answers() {
    local client
    while read -r client; do
        if answers "$client"; then return 0; fi
    done < <(clients)
    return 1
}

# Builds an empty image: version numbers do not tell whether a client has a builder.
can_build() {
    local image
    image=$(printf 'FROM scratch\nLABEL probe="%s"\n' "$$" |
        DOCKER_BUILDKIT=1 timeout 60 "$1" build --quiet - 2>/dev/null) || return 1
    "$1" image rm "$image" >/dev/null 2>&1 || true
}

# Prints and records the client to use; 1 when none can build.
choose_client() {
    local client
    while read -r client; do
        if answers "$client" && can_build "$client"; then
            printf 'DOCKER=%s\n' "$client" >"$ENV_FILE"
            printf '%s\n' "$client"
            return 0
        fi
    done < <(clients)
    return 1
}

can_install() { [[ "$(id -u)" == 0 && -f /etc/debian_version ]] && command -v apt-get >/dev/null; }

install_engine() {
    say "installing Debian's docker.io (log: $STATE/apt.log)"
    {
        apt-get update
        DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends \
            docker.io iptables
    } >"$STATE/apt.log" 2>&1 || {
        tail -n 5 "$STATE/apt.log" >&2
        say "apt-get could not install docker.io"
        exit 1
    }
}

# 0 when the engine with this pid answers, 1 when it died or did not answer in time.
wait_until_up() {
    local pid=$1 second
    for ((second = 1; second <= START_SECONDS; second++)); do
        if any_answers; then return 0; fi
        if ! kill -0 "$pid" 2>/dev/null; then return 1; fi
        if ((second % 5 == 0)); then say "waiting for dockerd, ${second} s"; fi
        sleep 1
    done
    return 1
}

# Starts dockerd in a session of its own, so that it survives this script and its terminal.
start_engine() {
    local driver pid
    : >"$LOG_FILE"
    # "" lets the engine choose; vfs copies whole layers but works on any file system.
    for driver in "" overlay2 fuse-overlayfs vfs; do
        say "starting dockerd (storage driver: ${driver:-its own choice}; log: $LOG_FILE)"
        rm -f "$PID_FILE"
        setsid nohup dockerd --pidfile "$PID_FILE" ${driver:+--storage-driver "$driver"} \
            >>"$LOG_FILE" 2>&1 </dev/null 9>&- &
        pid=$!
        if wait_until_up "$pid"; then return 0; fi
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    tail -n 5 "$LOG_FILE" >&2
    say "dockerd does not start; its last words are above, the whole log is in $LOG_FILE"
    exit 1
}

start() {
    mkdir -p "$STATE"
    # Two callers at once would install and start twice. The engine must not inherit the lock
    # (hence 9>&- above), or the next caller would wait for as long as it runs.
    if command -v flock >/dev/null; then
        exec 9>"$STATE/docker.lock"
        flock 9
    fi
    if ! any_answers; then
        if [[ -n "${DOCKER_HOST:-}" ]]; then
            impossible "the engine that DOCKER_HOST names does not answer ($DOCKER_HOST)"
        elif ! can_install; then
            impossible "no engine answers, and installing one needs root on Debian"
        fi
        if ! command -v dockerd >/dev/null || [[ -z "$(clients)" ]]; then
            install_engine
            # Where systemd runs, the package has just started the engine itself.
            if [[ -d /run/systemd/system ]]; then sleep 5; fi
        fi
        if ! any_answers; then start_engine; fi
    fi
    choose_client || impossible "an engine answers, but no client here can build with BuildKit"
}

# The pid of the engine that this script started; nothing when it is gone. The name is checked
# because a pid file may outlive its process and the number be given to another one.
own_pid() {
    local pid
    pid=$(cat "$PID_FILE" 2>/dev/null) || return 0
    if [[ "$(cat "/proc/$pid/comm" 2>/dev/null)" == dockerd ]]; then printf '%s\n' "$pid"; fi
}

stop() {
    local pid second
    pid=$(own_pid)
    rm -f "$ENV_FILE"
    if [[ -z "$pid" ]]; then
        say "nothing to stop: no engine was started from here"
        return 0
    fi
    kill "$pid"
    # dockerd gives containers ten seconds to end; wait for more than that.
    for ((second = 0; second < 30; second++)); do
        if ! kill -0 "$pid" 2>/dev/null; then
            rm -f "$PID_FILE"
            say "stopped"
            return 0
        fi
        sleep 1
    done
    say "dockerd ($pid) does not stop; see $LOG_FILE"
    exit 1
}

status() {
    local pid
    pid=$(own_pid)
    if any_answers; then
        say "an engine answers${pid:+ (started from here, pid $pid)}"
    else
        say "no engine answers"
        exit 1
    fi
}

case "${1:-start}" in
start | stop | status) "${1:-start}" ;;
*)
    say "unknown action \"$1\"; one of start, stop, status"
    exit 2
    ;;
esac
