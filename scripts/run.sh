#!/usr/bin/env bash
# Starts the daemon in the foreground and says how to use it, once it is ready.
#   scripts/run.sh BINARY
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$1
data=${INGESTD_DATA_DIR:-data}
lines=$(mktemp)
trap 'rm -f "$lines"' EXIT

"$binary" serve --data-dir "$data" > >(tee "$lines") &
daemon=$!
# Ctrl-C goes to the daemon as well as to this script: one signal drains it, a second one would end it at once.
trap : INT
trap 'kill -TERM "$daemon" 2>/dev/null || true' TERM

until grep -q '^data in' "$lines"; do
  kill -0 "$daemon" 2>/dev/null || { wait "$daemon"; exit $?; }
  sleep 0.05
done
url=$(sed -n 's/^listening on //p' "$lines")
cat <<TEXT

try:
  head -n 1 examples/cart-events.ndjson | curl -sS $url/events -H 'content-type: application/json' --data-binary @-

all of the examples:
  $binary send --url $url examples/cart-events.ndjson

Ctrl-C stops it; nothing that was accepted is lost.
TEXT
status=0
while kill -0 "$daemon" 2>/dev/null; do
  wait "$daemon" && status=0 || status=$?
done
exit "$status"
