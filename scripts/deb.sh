#!/usr/bin/env bash
# Packs the daemon that is built: scripts/deb.sh [PROFILE] prints the path of the .deb. The binary is
# $CARGO_TARGET_DIR/PROFILE/ingestd (release, if none is named); cargo-deb is installed into the cache when it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${1:-release}
tools=${INGESTD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ingestd}/tools
cargo_deb=3.8.0

if ! "$tools/bin/cargo-deb" --version 2>/dev/null | grep -q "\b$cargo_deb\b"; then
  CARGO_TARGET_DIR=$(mktemp -d) cargo install cargo-deb --locked --version "$cargo_deb" --root "$tools" >&2
fi

binary=$CARGO_TARGET_DIR/$profile/ingestd
stage=$CARGO_TARGET_DIR/$profile/package
rm -rf "$stage"
lib=$stage/usr/lib share=$stage/usr/share doc=$stage/usr/share/doc/ingestd
mkdir -p "$stage/etc/ingestd" "$lib"/{systemd/system,sysusers.d,tmpfiles.d} "$doc"

# The documented file with the system's own places.
sed -e 's|^data_dir = "data"$|data_dir = "/var/lib/ingestd"|' \
    -e '/^\[admin\]/,/^socket = / s|^socket = ""$|socket = "/run/ingestd/admin.sock"|' config.toml > "$stage/etc/ingestd/config.toml"
for line in 'data_dir = "/var/lib/ingestd"' 'socket = "/run/ingestd/admin.sock"'; do
  grep -qxF "$line" "$stage/etc/ingestd/config.toml" || { echo "config.toml has no place for: $line" >&2; exit 1; }
done
cp systemd/ingestd.{service,socket} "$lib/systemd/system/"
cp systemd/ingestd.sysusers "$lib/sysusers.d/ingestd.conf"
cp systemd/ingestd.tmpfiles "$lib/tmpfiles.d/ingestd.conf"
# With every page that one of them names: tests/systemd.rs reads this line.
cp -r docs/operations.md docs/json.md docs/durability.md docs/security.md docs/limits.md docs/admin.md docs/configuration.md docs/dead-letters.md docs/websocket.md docs/errors docs/observability "$doc/"
gzip -9n < CHANGELOG.md > "$doc/changelog.gz"

# Pages and completions come from the binary itself, where it can make them.
if "$binary" man --help >/dev/null 2>&1; then
  mkdir -p "$share/man/man1"
  "$binary" man "$share/man/man1" >/dev/null
  gzip -9n "$share/man/man1"/*.1
fi
if "$binary" completions --help >/dev/null 2>&1; then
  mkdir -p "$share"/{bash-completion/completions,zsh/vendor-completions,fish/vendor_completions.d}
  "$binary" completions bash > "$share/bash-completion/completions/ingestd"
  "$binary" completions zsh > "$share/zsh/vendor-completions/_ingestd"
  "$binary" completions fish > "$share/fish/vendor_completions.d/ingestd.fish"
fi

version=$(cargo metadata --no-deps --locked --format-version 1 | python3 -c '
import json, sys
print(next(package["version"] for package in json.load(sys.stdin)["packages"] if package["name"] == "ingestd"))')
moment=$(git log -1 --format=%ct 2>/dev/null || date +%s)
maintainer=$(sed -n '/^\[package.metadata.deb\]/,/^$/ s/^maintainer = "\(.*\)"$/\1/p' Cargo.toml)
gzip -9n > "$doc/changelog.Debian.gz" <<END
ingestd ($version-1) unstable; urgency=medium

  * See /usr/share/doc/ingestd/changelog.gz.

 -- $maintainer  $(LC_ALL=C date -u -R -d "@$moment")
END

PATH=$tools/bin:$PATH cargo deb --package ingestd --profile "$profile" --no-build --strip --locked --quiet
