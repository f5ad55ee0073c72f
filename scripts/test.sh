#!/usr/bin/env bash
# Everything that must hold, chapter by chapter, each with the time it took beside its budget; most tests two at a time.
# ROCKSDB_LIB_DIR and CARGO_TARGET_DIR come from the Makefile. CHAPTERS="unit crash" runs only those.
#
# The budgets are those of a clean clone on two cores with nothing beside it: together they and the 400 s that RocksDB
# takes once stay below an hour. Who is over its budget is marked; only what fails, or hangs, fails.
set -uo pipefail
cd "$(dirname "$0")/.."

skipped_file=$(mktemp) work=$(mktemp -d)
export SKIPPED_LIST=$skipped_file
trap 'rm -rf "$skipped_file" "$work"' EXIT
total=0 started_all=$SECONDS
names=()

wanted() { [ -z "${CHAPTERS:-}" ] || [[ " $CHAPTERS " == *" $1 "* ]]; }

# Runs one chapter; what it prints goes to standard output, its line of the table into a file.
run() { # run NAME BUDGET_S COMMAND…
  local name=$1 budget=$2 started=$SECONDS status=ok
  shift 2
  # What hangs must not take the time of all that follows; a machine with others on it is given its time.
  timeout --kill-after=10 $((budget * 5 + 120)) "$@" || status=FAILED
  local took=$((SECONDS - started))
  [ "$took" -gt "$budget" ] && status="$status, OVER"
  printf '%-18s %6ds of %5ds  %s\n' "$name" "$took" "$budget" "$status" > "$work/$name.line"
}

chapter() { # chapter NAME BUDGET_S COMMAND…
  wanted "$1" || return 0
  names+=("$1") total=$((total + $2))
  printf '\n=== %s\n' "$1"
  run "$@"
}

# As chapter, beside one other: most tests wait for timers and servers. Printed whole once it is over.
lanes=2
beside() { # beside NAME BUDGET_S COMMAND…
  wanted "$1" || return 0
  names+=("$1") total=$((total + $2 / lanes))
  while [ "$(jobs -rp | wc -l)" -ge "$lanes" ]; do wait -n; done
  {
    run "$@" > "$work/$1.out" 2>&1 < /dev/null
    { printf '\n=== %s\n' "$1"; cat "$work/$1.out"; } > "$work/$1.whole"
    flock "$work" cat "$work/$1.whole"
  } &
}

# The table, and the end.
sum_up() {
  local name failed=0
  printf '\n'
  for name in "${names[@]}"; do
    cat "$work/$name.line" 2>/dev/null || printf '%-18s FAILED: it has said nothing\n' "$name"
    grep -qs -v FAILED "$work/$name.line" || failed=1
  done
  printf '%-18s %6ds of %5ds  and 400 s for RocksDB, where it was not there yet\n' total "$((SECONDS - started_all))" "$total"
  if [ -s "$skipped_file" ]; then
    printf '\nskipped: %s\n' "$(wc -l < "$skipped_file")"
    cat "$skipped_file"
  fi
  [ "$failed" -eq 0 ] && printf '\nall chapters passed in %d s\n' "$SECONDS" || printf '\nSOME CHAPTERS FAILED\n'
  exit "$failed"
}

# Chapters of tests/ that take more than the ten seconds of the others, most of them with servers of their own.
declare -A budgets=(
  [alert_webhook]=40 [audit_log]=20 [auth_jwt]=40 [backpressure]=40 [check]=20 [clock]=40 [copies]=60 [drain]=30
  [durability]=90 [erase]=30 [erase_shipped]=60 [http2]=50 [http_bodies]=20 [kafka_dead_ends]=110 [limits]=30
  [observability]=30 [refusing]=60 [rejects]=30 [restore]=60 [send]=30 [ship]=130 [shipper]=40 [sink_contract]=40
  [stalled_log]=40 [steering]=140 [systemd]=30 [tls]=60 [top]=20 [traces]=30
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
# Workspaces of their own. Of the fuzz targets only what they assert is built here, with the corpus (tests/fuzz_corpus.rs).
for manifest in tests/rig/Cargo.toml fuzz/Cargo.toml; do
  chapter "$(dirname "$manifest" | xargs basename)-format" 5 cargo fmt --manifest-path "$manifest" --check
done
# Always the whole workspace: with another choice of packages every dependency would be built once more.
chapter build 420 cargo build --workspace --bins "${checked[@]}"
chapter build-tests 600 cargo test --workspace --tests --no-run "${checked[@]}"
chapter build-rig 80 cargo build "${checked[@]}" --manifest-path tests/rig/Cargo.toml
# What was not built cannot be tried.
grep -qs FAILED "$work"/build*.line && sum_up
export INGESTD_BIN=$CARGO_TARGET_DIR/checked/ingestd
rig=$CARGO_TARGET_DIR/checked/rig
mapfile -t crates < <(cargo metadata --no-deps --locked --format-version 1 | python3 -c '
import json, sys
for package in json.load(sys.stdin)["packages"]:
    for target in package["targets"]:
        if package["name"] != "ingestd" and "test" in target["kind"]:
            print("--test", target["name"], sep="\n")
')
# The longest first.
beside crates 360 cargo test --workspace --no-fail-fast "${crates[@]}" "${checked[@]}"
beside unit 30 cargo test --workspace --lib --bins "${checked[@]}"
beside torment 150 "$rig" torment --rounds 10 --bin "$INGESTD_BIN"
for test in tests/*.rs; do
  name=$(basename "$test" .rs)
  beside "$name" "${budgets[$name]:-15}" cargo test --workspace --test "$name" "${checked[@]}"
done
beside powercut 60 "$rig" powercut --rounds 3 --bin "$INGESTD_BIN"
beside disk-faults 30 "$rig" disk --bin "$INGESTD_BIN"
wait
# These take both cores.
chapter crash 90 "$rig" crash --rounds 20 --bin "$INGESTD_BIN"
chapter load-test 110 python3 tests/load_test.py
sum_up
