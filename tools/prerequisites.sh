#!/usr/bin/env bash
# Checks what pip cannot install: Python with venv, and the C++ headers that ROOT's interpreter reads.
# Installs them with apt if permitted, otherwise prints instructions. usage: prerequisites.sh PYTHON
set -euo pipefail
python=${1:-python3}

fail() {
    printf 'portico: %s\n' "$1" >&2
    exit 1
}

# install PACKAGE WHY
install() {
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        printf 'portico: installing %s, %s\n' "$1" "$2"
        export DEBIAN_FRONTEND=noninteractive
        { apt-get -qq update && apt-get -qq install -y --no-install-recommends "$1"; } >/dev/null </dev/null ||
            fail "apt-get could not install $1; install it, then run the same command again"
    else
        fail "the package $1 is missing ($2); install it, for example with: sudo apt-get install $1"
    fi
}

has_headers() {
    printf '#include <vector>\nint main() { return 0; }\n' | g++ -x c++ -fsyntax-only - 2>/dev/null
}

command -v "$python" >/dev/null || fail "there is no '$python'; install Python 3.11 or newer, or name it: make PYTHON=python3.12"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python" --version) is too old; install Python 3.11 or newer, and name it: make PYTHON=python3.12"
"$python" -c 'import venv, ensurepip' 2>/dev/null || install python3-venv "which makes the virtual environment"
"$python" -c 'import venv, ensurepip' 2>/dev/null || fail "'$python' has no venv; install the package that brings it, such as $(basename "$python")-venv"
has_headers || install g++ "whose C++ headers ROOT reads"
has_headers || fail "g++ cannot compile an empty program; repair it first"
