#!/usr/bin/env bash
# Everything that must hold, chapter by chapter, each with the time it took beside its budget.
# ROCKSDB_LIB_DIR and CARGO_TARGET_DIR come from the Makefile. CHAPTERS="unit crash" runs only those.
#
# The budgets are those of a clean clone on two cores with nothing beside it: together they and the 820 s that RocksDB
# takes once stay below an hour. Who is over its budget is marked; only what fails, or hangs, fails.
set -uo pipefail
cd "$(dirname "$0")/.."

table=() failed=0 total=0 skipped_file=$(mktemp)
export SKIPPED_LIST=$skipped_file
trap 'rm -f "$skipped_file"' EXIT

chapter() { # chapter NAME BUDGET_S COMMAND…
  local name=$1 budget=$2 started=$SECONDS status=ok
  shift 2
  [ -n "${CHAPTERS:-}" ] && [[ " $CHAPTERS " != *" $name "* ]] && return
  printf '\n=== %s\n' "$name"
  # What hangs must not take the time of all that follows; a machine with others on it is given its time.
  timeout --kill-after=10 $((budget * 5 + 120)) "$@" || { status=FAILED; failed=1; }
  local took=$((SECONDS - started))
  [ "$took" -gt "$budget" ] && status="$status, OVER"
  total=$((total + budget))
  table+=("$(printf '%-16s %6ds of %5ds  %s' "$name" "$took" "$budget" "$status")")
}

# Chapters of tests/ that take more than the ten seconds of the others, most of them with servers of their own.
declare -A budgets=(
  [alert_webhook]=25 [auth_jwt]=30 [backpressure]=30 [copies]=30 [durability]=60 [http2]=30 [kafka_dead_ends]=50
  [restore]=30 [ship]=70 [shipper]=30 [sink_contract]=25 [stalled_log]=30 [steering]=50 [tls]=30
)

checked=(--profile checked --locked)
chapter format 5 cargo fmt --all --check
chapter lint 260 cargo clippy --workspace --lib --bins "${checked[@]}" -- -D warnings
# A test that cannot go on may panic, and nothing outside reaches into a test.
chapter lint-tests 90 cargo clippy --workspace --all-targets "${checked[@]}" -- -D warnings -A clippy::unwrap_used -A unreachable_pub
# What it is built from; advisories, which change without us, are `cargo deny check`'s alone.
if cargo deny --version >/dev/null 2>&1; then
  chapter deny 15 cargo deny --locked check bans licenses sources
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
chapter build 420 cargo build --workspace --bins "${checked[@]}"
chapter unit 360 cargo test --workspace --lib --bins "${checked[@]}"
chapter crates 200 cargo test --workspace "${crates[@]}" "${checked[@]}"
export INGESTD_BIN=$CARGO_TARGET_DIR/checked/ingestd
for test in tests/*.rs; do
  name=$(basename "$test" .rs)
  chapter "$name" "${budgets[$name]:-10}" cargo test --workspace --test "$name" "${checked[@]}"
done

chapter load-test 100 python3 tests/load_test.py

# Workspaces of their own. Of the fuzz targets only what they assert is built here, with the corpus (tests/fuzz_corpus.rs).
for manifest in tests/rig/Cargo.toml fuzz/Cargo.toml; do
  chapter "$(dirname "$manifest" | xargs basename)-format" 5 cargo fmt --manifest-path "$manifest" --check
done
chapter rig-build 60 cargo build "${checked[@]}" --manifest-path tests/rig/Cargo.toml
rig=$CARGO_TARGET_DIR/checked/rig
chapter crash 60 "$rig" crash --rounds 20 --bin "$INGESTD_BIN"
chapter powercut 50 "$rig" powercut --rounds 3 --bin "$INGESTD_BIN"
chapter disk-faults 20 "$rig" disk --bin "$INGESTD_BIN"
chapter torment 100 "$rig" torment --rounds 10 --bin "$INGESTD_BIN"

printf '\n'
printf '%s\n' "${table[@]}"
printf '%-16s %6ds of %5ds  and 820 s for RocksDB, where it was not there yet\n' total "$SECONDS" "$total"
if [ -s "$skipped_file" ]; then
  printf '\nskipped: %s\n' "$(wc -l < "$skipped_file")"
  cat "$skipped_file"
fi
[ "$failed" -eq 0 ] && printf '\nall chapters passed in %d s\n' "$SECONDS" || printf '\nSOME CHAPTERS FAILED\n'
exit "$failed"
