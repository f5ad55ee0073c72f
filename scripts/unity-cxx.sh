#!/usr/bin/env bash
# A C++ compiler that takes RocksDB's sources a dozen at a time: most of the time of each goes into the same headers.
# The first of a dozen is compiled with the others included, in their stead comes an empty object. RocksDB keeps its
# sources fit for that (`make unity` in its Makefile); their list is in the folder that they are built from.
set -euo pipefail
real=${UNITY_CXX:-g++}
dozen=12

args=("$@") source= out=
for i in "${!args[@]}"; do
  case ${args[i]} in
    rocksdb/*.cc | */rocksdb/*.cc) source=${args[i]} at=$i ;;
    -o) out=${args[i + 1]} ;;
  esac
done
# A question to the compiler, or a file of another kind.
[ -n "$source" ] && [ -n "$out" ] && [ -f rocksdb_lib_sources.txt ] || exec "$real" "$@"
mapfile -t sources < <(grep -v '^util/build_version.cc$' rocksdb_lib_sources.txt | sed 's/[[:space:]]//g')
number=0
while [ "${sources[number]:?${source} is in no list}" != "${source#*rocksdb/}" ]; do number=$((number + 1)); done
if [ $((number % dozen)) -ne 0 ]; then
  args[at]=/dev/null
  exec "$real" "${args[@]::at}" -x c++ "${args[@]:at}"
fi
unity=$out.unity.cc
printf "#include \"$PWD/rocksdb/%s\"\n" "${sources[@]:number:dozen}" > "$unity"
args[at]=$unity
exec "$real" "${args[@]}"
