#!/usr/bin/env bash
# Makes sure that the base images of the service's Dockerfile are here: python:<version>-slim-trixie.
#
#   scripts/base_image.sh [VERSION…]      default: 3.13
#
# An image that is here already is kept. Otherwise it is pulled, and where no registry can be
# reached, root on Debian builds a stand-in with debootstrap and gives it the same tag and the
# label io.github.aci-ml-template.stand-in, so that nobody takes it for the official image.
# DOCKER names the client (default: what docker_engine.sh chose, else "docker"), DEBIAN_MIRROR
# the archive that debootstrap reads, PULL_SECONDS how long a pull may take.
# Exit codes: 0 all are here, 1 it should have worked and did not, 3 not possible here.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
readonly ROOT
readonly STATE="$ROOT/build"
readonly STAND_IN_LABEL=io.github.aci-ml-template.stand-in
readonly CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt
readonly PULL_SECONDS="${PULL_SECONDS:-120}"
readonly IMPOSSIBLE=3

say() { printf 'base image: %s\n' "$*" >&2; }

impossible() {
    say "$1"
    say "way out: give this machine access to a registry (docker pull), or run as root on Debian."
    exit "$IMPOSSIBLE"
}

# Which Debian carries a given Python as its own; the official images build theirs.
suite_of() {
    case "$1" in
    3.13) echo trixie ;;
    3.11) echo bookworm ;;
    *) impossible "no Debian release has Python $1, so there is no stand-in for it" ;;
    esac
}

require_debootstrap() {
    if command -v debootstrap >/dev/null; then return 0; fi
    say "installing debootstrap (log: $STATE/apt.log)"
    {
        apt-get update
        DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends debootstrap
    } >"$STATE/apt.log" 2>&1 || {
        tail -n 5 "$STATE/apt.log" >&2
        say "apt-get could not install debootstrap"
        exit 1
    }
}

# Says every few seconds what the last line of a log is, for as long as a process runs.
follow() {
    local pid=$1 log=$2 seconds=0
    while kill -0 "$pid" 2>/dev/null; do
        sleep 1
        seconds=$((seconds + 1))
        if ((seconds % 15 == 0)); then say "${seconds} s: $(tail -n 1 "$log")"; fi
    done
}

# Fills a folder with a minimal Debian that has `python` and the venv module.
make_root() {
    local version=$1 root=$2 suite log pid packages
    suite=$(suite_of "$version")
    log="$STATE/debootstrap-$version.log"
    packages="ca-certificates,python$version-minimal,libpython$version-stdlib,python3-venv"
    say "building a stand-in from Debian $suite, about 90 s (log: $log)"
    debootstrap --variant=minbase --include="$packages" "$suite" "$root" \
        ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} >"$log" 2>&1 &
    pid=$!
    follow "$pid" "$log"
    wait "$pid" || {
        tail -n 5 "$log" >&2
        say "debootstrap failed; the whole log is in $log"
        exit 1
    }
}

# Brings the folder nearer to the official image: the same command name, as lean, and (as
# there) no byte code, so that start-up times measured on the stand-in are not flattering.
trim_root() {
    local root=$1
    ln -sf python3 "$root/usr/bin/python"
    rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/*.log \
        "$root"/usr/share/{doc,man,locale}/*
    find "$root/usr/lib" -name __pycache__ -type d -prune -exec rm -rf {} +
    # A machine behind an inspecting proxy trusts a certificate that Debian does not ship.
    if [[ -s "$CA_BUNDLE" ]]; then cp "$CA_BUNDLE" "$root$CA_BUNDLE"; fi
}

stand_in() {
    local version=$1 image=$2 root
    [[ "$(id -u)" == 0 && -f /etc/debian_version ]] ||
        impossible "$image cannot be pulled, and building a stand-in needs root on Debian"
    require_debootstrap
    # Not in $STATE: debootstrap refuses file systems mounted noexec or nodev, as homes may be.
    root=$(mktemp -d "${TMPDIR:-/var/tmp}/base-image.XXXXXX")
    # shellcheck disable=SC2064 # the folder's name is wanted as it is now
    trap "rm -rf --one-file-system '$root'" EXIT
    make_root "$version" "$root"
    trim_root "$root"
    tar -C "$root" --numeric-owner -c . | "$DOCKER" import \
        --change "LABEL $STAND_IN_LABEL=debian-$(suite_of "$version")" \
        --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
        --change 'ENV LANG=C.UTF-8' \
        --change "ENV PIP_CERT=$CA_BUNDLE" \
        --change "ENV SSL_CERT_FILE=$CA_BUNDLE" \
        --change 'CMD ["python3"]' \
        - "$image" >/dev/null
    rm -rf --one-file-system "$root"
}

# Starts the image once: Python answers, has venv and TLS, knows its user and finds hosts.
probe() {
    local image=$1
    "$DOCKER" run --rm "$image" python -c '
import ensurepip, os, pwd, socket, ssl, sys, venv
assert ssl.create_default_context().get_ca_certs(), "no CA certificates"
assert pwd.getpwuid(os.getuid()).pw_name == "root", "no password database"
assert socket.gethostbyname("localhost") == "127.0.0.1", "no host look-up"
print("Python", sys.version.split()[0])' >&2
}

ensure() {
    local version=$1 image="python:$1-slim-trixie"
    if "$DOCKER" image inspect "$image" >/dev/null 2>&1; then
        say "$image is here"
        return 0
    fi
    say "pulling $image (at most $PULL_SECONDS s)"
    if timeout "$PULL_SECONDS" "$DOCKER" pull --quiet "$image" >/dev/null 2>"$STATE/pull.log"; then
        say "$image pulled"
        return 0
    fi
    say "cannot be pulled: $(tail -n 1 "$STATE/pull.log")"
    stand_in "$version" "$image"
    probe "$image"
    say "$image is here, as a stand-in"
}

mkdir -p "$STATE"
if [[ -z "${DOCKER:-}" && -f "$STATE/docker.env" ]]; then
    # shellcheck source=/dev/null
    source "$STATE/docker.env"
fi
DOCKER="${DOCKER:-docker}"
command -v "$DOCKER" >/dev/null || impossible "no docker client called \"$DOCKER\""
if (($# == 0)); then set -- 3.13; fi
for version in "$@"; do ensure "$version"; done
