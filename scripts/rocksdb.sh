#!/usr/bin/env bash
# Compiles RocksDB's C++ once and keeps the archive in the user's cache; prints the folder that holds librocksdb.a.
#
#   export ROCKSDB_LIB_DIR=$(scripts/rocksdb.sh) ROCKSDB_STATIC=1
#
# The key is everything that changes the archive: version, features, CPU flags, compiler and how it is called. Some
# minutes the first time, nothing after that. INGESTD_CACHE overrides the place (default: $XDG_CACHE_HOME or ~/.cache).
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
flags="-C target-cpu=x86-64-v2 -C target-feature=+pclmulqdq"
key=$({ cat "$root/wal/prebuilt/Cargo.toml" "$root/scripts/unity-cxx.sh"; echo "$flags"; g++ -dumpfullversion; } | sha256sum | cut -c1-16)
cache=${INGESTD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ingestd}/rocksdb-$key

if [ ! -f "$cache/librocksdb.a" ]; then
  echo "compiling RocksDB once into $cache (some minutes)" >&2
  mkdir -p "$cache"
  exec 9>"$cache/lock"
  flock 9
  if [ ! -f "$cache/librocksdb.a" ]; then
    build=$(mktemp -d "$cache/build.XXXXXX")
    trap 'rm -rf "$build"' EXIT
    env -u ROCKSDB_LIB_DIR -u ROCKSDB_STATIC -u CARGO_ENCODED_RUSTFLAGS RUSTFLAGS="$flags" CARGO_TARGET_DIR="$build" \
      CXX="$root/scripts/unity-cxx.sh" \
      cargo build --release --manifest-path "$root/wal/prebuilt/Cargo.toml" >&2
    archive=$(find "$build" -name librocksdb.a -print -quit)
    [ -n "$archive" ] || { echo "RocksDB was compiled but librocksdb.a is not in $build" >&2; exit 1; }
    cp "$archive" "$cache/librocksdb.a.part"
    mv "$cache/librocksdb.a.part" "$cache/librocksdb.a"
  fi
fi
echo "$cache"
