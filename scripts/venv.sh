#!/bin/sh
# Makes the virtual environment with TensorFlow that the example and the tests use; prints its interpreter.
#
# Does nothing where it is there already. TFTRACE_TEST_PYTHON names an interpreter with TensorFlow to use instead.
set -eu
cd "$(dirname "$0")/.."
tensorflow=tensorflow-cpu==2.21.0

if [ -n "${TFTRACE_TEST_PYTHON:-}" ]; then
    echo "$TFTRACE_TEST_PYTHON"
    exit
fi
python=$PWD/.venv/bin/python
if [ ! -e ".venv/$tensorflow" ]; then
    # TensorFlow has wheels for these only; a plain `python3` of another version would end in pip's words.
    for base in "${PYTHON:-python3}" python3.13 python3.12 python3.11 python3.10; do
        "$base" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && break
        base=
    done
    if [ -z "$base" ]; then
        echo "venv.sh: no Python from 3.10 to 3.13 found, and TensorFlow 2.21 needs one: install one, or name it in PYTHON" >&2
        exit 1
    fi
    if ! "$base" -c 'import ensurepip, venv' 2>/dev/null; then
        echo "venv.sh: $base has no venv: install it (Debian and Ubuntu: apt-get install python3-venv)" >&2
        exit 1
    fi
    echo "venv.sh: installing $tensorflow into .venv (about 2 GB, once)" >&2
    rm -rf .venv
    "$base" -m venv .venv >&2
    # psutil: for the labelled programs that the tests run where a checkout has them.
    "$python" -m pip install --quiet --disable-pip-version-check "$tensorflow" psutil >&2
    # Only a finished environment has this file.
    : > ".venv/$tensorflow"
fi
echo "$python"
