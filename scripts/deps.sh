#!/usr/bin/env bash
# Installs the apt packages that are missing, by name; elsewhere says what to install.
#   scripts/deps.sh build|test|slo
set -euo pipefail

# curl is what the examples are typed with.
packages=(g++ make pkg-config libclang-dev libssl-dev curl)
if [ "${1:-build}" != build ]; then
  # For the load test.
  packages+=(python3-venv wrk)
fi
if [ "${1:-build}" = test ]; then
  # promtool, which reads metrics, rules and the dashboard, is in prometheus.
  packages+=(user-mode-linux systemd tmux prometheus openssl)
  # Any JDK from 17 on and any Maven will do.
  command -v javac >/dev/null || packages+=(default-jdk-headless)
  command -v mvn >/dev/null || packages+=(maven)
fi

command -v cargo >/dev/null || { echo "cargo is missing: install a Rust toolchain (rust-version in Cargo.toml)" >&2; exit 1; }

if ! command -v dpkg-query >/dev/null; then
  echo "this is not Debian: make sure that the equivalents of these are installed: ${packages[*]}" >&2
  exit 0
fi
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "missing packages; as root: apt-get install ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
echo "installing ${missing[*]}" >&2
"${as_root[@]}" apt-get update -qq >&2
DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y --no-install-recommends "${missing[@]}" >&2
