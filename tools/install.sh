#!/bin/sh
# Usage: install.sh PYTHON LOCK
# Makes .venv where there is none and installs what the lock names, by hash: with uv (itself from the lock)
# for its speed, with pip where uv cannot reach the registry.
set -eu
python=$1 lock=$2 bin=.venv/bin

if [ ! -x $bin/python ]; then
    echo "making .venv with $($python --version)"
    $python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || {
        echo "Python 3.11, 3.12 or 3.13 is needed; name one: make PYTHON=python3.11 ..." >&2
        exit 1
    }
    $python -m venv .venv || {
        echo "this Python cannot make virtual environments; on Debian: apt install python3-venv" >&2
        rm -rf .venv
        exit 1
    }
fi
if [ ! -x $bin/uv ]; then
    awk '/^uv==/ { found = 1 } found { print } found && !/\\$/ { exit }' "$lock" > .venv/uv.lock
    $bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.lock
fi
echo "installing $(grep -c '^[a-z0-9].*==' "$lock") packages of $lock"
$bin/uv pip install --quiet --python $bin/python --require-hashes -r "$lock" || {
    echo "uv could not install them; trying pip, which takes longer" >&2
    $bin/python -m pip install --disable-pip-version-check --require-hashes -r "$lock"
}
$bin/uv pip install --quiet --python $bin/python --no-deps --no-build-isolation --offline -e . ||
    $bin/python -m pip install --quiet --no-deps --no-build-isolation -e .
