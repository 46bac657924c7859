# Sourced by the other scripts: `environment NAME [FOLDER]` makes a virtual environment (.venv unless told otherwise) hold
# what requirements/NAME.txt locks, and this project. Needs Python 3.10 or newer; uses uv when it is there, else pip. Does
# nothing when nothing has changed since.

_venv=.venv

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 2; }

# The Python that was asked for, else the first that is new enough.
_python() {
    for _candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.10}; do
        if "$_candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            command -v "$_candidate"
            return
        fi
    done
    die "no Python 3.10 or newer found (PYTHON=${PYTHON:-not set}); install one, or name it: PYTHON=/path/to/python3 $0"
}

_debian_root() { [ "$(id -u)" = 0 ] && [ -e /etc/debian_version ] && command -v apt-get >/dev/null; }

# Debian packages that are missing, installed when this machine allows it. Their services are not started.
debian_packages() {
    _missing=
    for _package in "$@"; do
        dpkg-query -W -f '${Status}' "$_package" 2>/dev/null | grep -q 'ok installed' || _missing="$_missing $_package"
    done
    [ -n "$_missing" ] || return 0
    say "installing from Debian:$_missing"
    _policy=/usr/sbin/policy-rc.d
    if [ ! -e "$_policy" ]; then
        printf '#!/bin/sh\nexit 101\n' > "$_policy" && chmod +x "$_policy"
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        # dash does not come to EXIT when a signal ends it; the file left behind would keep every service from starting.
        trap 'exit 130' INT; trap 'exit 143' TERM; trap 'exit 129' HUP
    else
        _policy=
    fi
    _log=$(mktemp)
    # shellcheck disable=SC2086
    if (apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install --assume-yes --no-install-recommends $_missing) \
        > "$_log" 2>&1 < /dev/null; then _failed=0; else _failed=1; tail -n 15 "$_log" >&2; fi
    rm -f "$_log"
    if [ -n "$_policy" ]; then rm -f "$_policy"; trap - EXIT INT TERM HUP; fi
    return $_failed
}

_create_venv() {
    [ ! -x "$_venv/bin/python" ] || "$_venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || rm -rf "$_venv"
    [ ! -x "$_venv/bin/python" ] || return 0
    _interpreter=$(_python) || exit 2
    say "making $_venv with $("$_interpreter" --version)"
    if command -v uv >/dev/null; then
        uv venv --quiet --python "$_interpreter" "$_venv"
    elif ! "$_interpreter" -m venv "$_venv" >/dev/null 2>&1; then
        rm -rf "$_venv"
        _debian_root || die "$_interpreter cannot make a virtual environment; on Debian install python3-venv, or install uv"
        debian_packages python3-venv || die "python3-venv could not be installed; see above"
        "$_interpreter" -m venv "$_venv"
    fi
}

# Quiet unless it fails: an installer's chatter says nothing to someone who wants to see the project.
_install() {
    _log=$_venv/.installation  # not in the temporary folder: Ctrl-C would leave it there
    if command -v uv >/dev/null; then
        uv pip install --python "$_venv/bin/python" "$@" > "$_log" 2>&1 || { tail -n 20 "$_log" >&2; rm -f "$_log"; return 1; }
    else
        # Ctrl-C while it was made leaves one without pip, and uv makes all of its own so.
        "$_venv/bin/python" -m pip --version >/dev/null 2>&1 || "$_venv/bin/python" -m ensurepip > "$_log" 2>&1 ||
            { tail -n 20 "$_log" >&2; rm -f "$_log"; return 1; }
        "$_venv/bin/python" -m pip --disable-pip-version-check install --progress-bar off "$@" > "$_log" 2>&1 ||
            { tail -n 20 "$_log" >&2; rm -f "$_log"; return 1; }
    fi
    rm -f "$_log"
}

environment() {
    _venv=${2:-.venv}
    _create_venv
    # With the place: a copy of this folder has programs in its environment that start with the path of the first.
    _wanted=$( (cat "requirements/$1.txt" pyproject.toml; pwd) | cksum)
    _stamp=$_venv/.holds-$1
    if [ -e "$_stamp" ] && [ "$(cat "$_stamp")" = "$_wanted" ]; then return; fi
    say "installing the packages of requirements/$1.txt into $_venv (about half a minute the first time)"
    _install --require-hashes --requirement "requirements/$1.txt" || die "the packages could not be installed; see above"
    # An editable install needs the build tool; the lock of each environment names it, so nothing unlocked is fetched.
    _install --no-deps --no-build-isolation --editable . || die "the project could not be installed; see above"
    printf '%s' "$_wanted" > "$_stamp"
}
