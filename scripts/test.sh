#!/usr/bin/env bash
# Everything that must hold, chapter by chapter, each with the time it took beside its budget.
# ROCKSDB_LIB_DIR and CARGO_TARGET_DIR come from the Makefile. CHAPTERS="unit crash" runs only those.
set -uo pipefail
cd "$(dirname "$0")/.."

table=() failed=0 skipped_file=$(mktemp)
export SKIPPED_LIST=$skipped_file
trap 'rm -f "$skipped_file"' EXIT

chapter() { # chapter NAME BUDGET_S COMMAND…
  local name=$1 budget=$2 started=$SECONDS status=ok
  shift 2
  [ -n "${CHAPTERS:-}" ] && [[ " $CHAPTERS " != *" $name "* ]] && return
  printf '\n=== %s\n' "$name"
  # What hangs must not take the time of all that follows.
  timeout --kill-after=10 $((budget * 3 + 60)) "$@" || { status=FAILED; failed=1; }
  table+=("$(printf '%-12s %6ds of %5ds  %s' "$name" $((SECONDS - started)) "$budget" "$status")")
}

checked=(--profile checked --locked)
chapter format 10 cargo fmt --all --check
chapter lint 600 cargo clippy --workspace --lib --bins "${checked[@]}" -- -D warnings
# A test that cannot go on may panic, and nothing outside reaches into a test.
chapter lint-tests 300 cargo clippy --workspace --all-targets "${checked[@]}" -- -D warnings -A clippy::unwrap_used -A unreachable_pub
# What it is built from; advisories, which change without us, are `cargo deny check`'s alone.
if cargo deny --version >/dev/null 2>&1; then
  chapter deny 60 cargo deny --locked check bans licenses sources
else
  echo "deny: cargo-deny is not installed" >> "$SKIPPED_LIST"
fi
# Always the whole workspace: with another choice of packages every dependency would be built once more.
mapfile -t crates < <(cargo metadata --no-deps --locked --format-version 1 | python3 -c '
import json, sys
for package in json.load(sys.stdin)["packages"]:
    for target in package["targets"]:
        if package["name"] != "ingestd" and "test" in target["kind"]:
            print("--test", target["name"], sep="\n")
')
chapter build 900 cargo build --workspace --bins "${checked[@]}"
chapter unit 900 cargo test --workspace --lib --bins "${checked[@]}"
chapter crates 900 cargo test --workspace "${crates[@]}" "${checked[@]}"
export INGESTD_BIN=$CARGO_TARGET_DIR/checked/ingestd
for test in tests/*.rs; do
  name=$(basename "$test" .rs)
  chapter "$name" 240 cargo test --workspace --test "$name" "${checked[@]}"
done

chapter load-test 240 python3 tests/load_test.py

chapter rig-build 300 cargo build "${checked[@]}" --manifest-path tests/rig/Cargo.toml
rig=$CARGO_TARGET_DIR/checked/rig
chapter crash 300 "$rig" crash --rounds 20 --bin "$INGESTD_BIN"
chapter powercut 300 "$rig" powercut --rounds 3 --bin "$INGESTD_BIN"
chapter disk-faults 300 "$rig" disk --bin "$INGESTD_BIN"
chapter torment 480 "$rig" torment --rounds 10 --bin "$INGESTD_BIN"

printf '\n'
printf '%s\n' "${table[@]}"
if [ -s "$skipped_file" ]; then
  printf '\nskipped: %s\n' "$(wc -l < "$skipped_file")"
  cat "$skipped_file"
fi
[ "$failed" -eq 0 ] && printf '\nall chapters passed in %d s\n' "$SECONDS" || printf '\nSOME CHAPTERS FAILED\n'
exit "$failed"
