#!/bin/sh
# Installs what the rigs need beside a Rust toolchain: a C compiler for the fault shim, and for power cuts a kernel that
# runs as an ordinary process and the tool that makes its disk; with "life", what makes the life rig's system. Needs root;
# does nothing if all of it is there.
set -eu
missing=""
command -v cc >/dev/null || missing="$missing gcc libc6-dev"
command -v linux.uml >/dev/null || missing="$missing user-mode-linux"
command -v mkfs.ext4 >/dev/null || missing="$missing e2fsprogs"
[ "${1:-}" != life ] || command -v debootstrap >/dev/null || missing="$missing debootstrap"
[ -z "$missing" ] && exit 0
apt-get update -q
# shellcheck disable=SC2086 # a list of package names
apt-get install -y --no-install-recommends $missing
