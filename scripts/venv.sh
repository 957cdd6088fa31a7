#!/usr/bin/env bash
# Makes the virtual environment hold what a make target needs, and nothing if it does already.
#
#   scripts/venv.sh LEVEL     LEVEL is bare (pip alone), run, lab, test or dev
#   scripts/venv.sh python    print the Python that would be used
#
# VENV is its folder (.venv), PYTHON the interpreter to make it with (the newest found). What is installed is written
# down only when all of it is there, with a checksum of pyproject.toml and requirements.lock: an install that fails or
# is interrupted is repeated, one that succeeded needs neither time nor network. Runs on the bash 3.2 of macOS too.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${VENV:-.venv}
level=${1:?usage: scripts/venv.sh bare|run|lab|test|dev|python}

fail() { echo "error: $*" >&2; exit 1; }

# Every python3.x of PATH, newest name first. One that exists may still not run (a shim of a version manager).
candidates() {
    if [ -n "${PYTHON:-}" ]; then command -v "$PYTHON" || true; return; fi
    for name in python3.14 python3.13 python3.12 python3.11 python3; do type -aP "$name" || true; done
}

can() { "$1" -c "$2" </dev/null >/dev/null 2>&1; }

find_python() {
    local candidate found=
    while IFS= read -r candidate; do
        can "$candidate" 'import sys; sys.exit(sys.version_info < (3, 11))' || continue
        if can "$candidate" 'import ensurepip, venv'; then echo "$candidate"; return; fi
        found=${found:-$candidate}
    done < <(candidates)
    if [ -n "$found" ]; then
        fail "$found lacks the venv module; on Debian and Ubuntu: apt install python3-venv"
    fi
    if [ -n "${PYTHON:-}" ]; then fail "PYTHON=$PYTHON is not a Python 3.11 or newer that runs"; fi
    fail "no Python 3.11 or newer found; install one (Debian, Ubuntu: apt install python3 python3-venv;" \
        "macOS: brew install python) or name it: make PYTHON=/path/to/python3 ..."
}

making=
cleanup() { [ -z "$making" ] || rm -rf "$venv"; }
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

make_venv() {
    if can "$venv/bin/python" 'import sys, pip; sys.exit(sys.version_info < (3, 11))'; then return; fi
    if [ -e "$venv" ] && [ ! -f "$venv/pyvenv.cfg" ] && [ -n "$(ls -A "$venv")" ]; then
        fail "$venv is there and is no virtual environment; move it away, or choose another: make VENV=FOLDER ..."
    fi
    local python
    python=$(find_python)
    echo "Making $venv with $("$python" --version)"
    making=yes
    "$python" -m venv --clear "$venv"
    making=
}

case $level in
    python) find_python; exit ;;
    bare) make_venv; exit ;;
    run) extra= includes="run" ;;
    lab) extra='[lab]' includes="run lab" ;;
    test) extra='[test]' includes="run lab test" ;;
    dev) extra='[dev]' includes="run lab test dev" ;;
    *) fail "unknown level $level; one of bare, run, lab, test, dev, python" ;;
esac

wanted="$(cat pyproject.toml requirements.lock | cksum) $(pwd -P)"
stamp=$venv/.installed
if [ "$(cat "$stamp-$level" 2>/dev/null)" = "$wanted" ] && [ -x "$venv/bin/python" ]; then exit; fi

make_venv
rm -f "$stamp"-*
echo "Installing the packages for '$level' into $venv: once, a minute or two"
quiet=--quiet
[ ! -t 1 ] || quiet=
PIP_USER=0 "$venv/bin/python" -m pip install $quiet --disable-pip-version-check --no-input \
    -c requirements.lock -e ".$extra" </dev/null ||
    fail "the packages could not be installed (pip says why above); run the same command again once that is mended"
for included in $includes; do echo "$wanted" >"$stamp-$included"; done
