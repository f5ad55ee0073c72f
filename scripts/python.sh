#!/usr/bin/env bash
# Makes a Python environment with what tests/requirements.txt asks for, once, in the user's cache; prints its folder.
#
#   "$(scripts/python.sh)"/bin/python tests/parquet_readers.py data/events
#   "$(scripts/python.sh tests/clickhouse-requirements.txt --no-deps)"/bin/python tests/support/clickhouse_server.py …
#
# Another requirements file may be named, and options for pip after it. The key is the file and the options: change
# them, and a new environment is made. INGESTD_CACHE overrides the place (default: $XDG_CACHE_HOME or ~/.cache).
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
requirements=$root/${1:-tests/requirements.txt}
shift || true
# Without options the key is that of the file alone.
key=$({ cat "$requirements"; [ $# -eq 0 ] || echo "$*"; } | sha256sum | cut -c1-16)
cache=${INGESTD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ingestd}
venv=$cache/venv-$key

if [ ! -f "$venv/ready" ]; then
  mkdir -p "$cache"
  exec 9>"$venv.lock"
  flock 9
  if [ ! -f "$venv/ready" ]; then
    echo "making a Python environment in $venv" >&2
    # What an interrupted run has left is not to be trusted.
    rm -rf "$venv"
    python3 -m venv "$venv" >&2
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" --requirement "$requirements" >&2
    touch "$venv/ready"
  fi
fi
echo "$venv"
