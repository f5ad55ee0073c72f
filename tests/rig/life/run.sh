#!/usr/bin/env bash
# The life of the Debian package under a real systemd, process 1 of a user-mode-linux guest:
#   tests/rig/life/run.sh PACKAGE.deb [OLDER.deb]
# OLDER is what is upgraded to PACKAGE; without it the same is installed twice. Needs root, and from apt: user-mode-linux,
# debootstrap, e2fsprogs; for ClickHouse and Kafka Python, a JDK 17 and Maven. The guest's system is fetched once into the
# cache. guest.sh is what happens in it; its lines are printed, and the exit status is 0 only if all of them went well.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
package=$(realpath "$1")
older=$(realpath "${2:-$1}")
cache=${INGESTD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ingestd}
base=$cache/life-base

if [ ! -e "$base.done" ]; then
  rm -rf "$base"
  debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,libssl3,ca-certificates bookworm "$base" >&2
  touch "$base.done"
fi

work=$(mktemp -d "$cache/life.XXXXXX")
trap 'rm -rf "$work"' EXIT
root=$work/root
cp -a "$base" "$root"
cp "$package" "$root/ingestd.deb"
cp "$older" "$root/older.deb"
install -m 755 "$here/guest.sh" "$root/life.sh"
install -m 755 "$here/servers.sh" "$here/guide.sh" "$root/"
top=$(cd "$here/../../.." && pwd)
{
  printf 'PYTHON=%q\n' "$("$top/scripts/python.sh" tests/clickhouse-requirements.txt --no-deps)/bin/python"
  printf 'JARS=%q\n' "$("$top/scripts/kafka.sh")"
  printf 'JAVA=%q\n' "$(realpath "$(command -v java)")"
} > "$root/servers.env"
install -m 755 "$top/tests/support/clickhouse_server.py" "$root/clickhouse_server.py"
echo life > "$root/etc/hostname"
cat > "$root/etc/systemd/system/life.service" <<'END'
[Unit]
Description=Everything that happens to the package
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/life.sh
StandardOutput=append:/life.log
StandardError=append:/life.log
ExecStopPost=/usr/bin/systemctl --no-block poweroff
TimeoutStartSec=infinity
END
mkdir -p "$root/etc/systemd/system/graphical.target.wants"
ln -sf ../life.service "$root/etc/systemd/system/graphical.target.wants/life.service"
ln -sf /lib/systemd/system/graphical.target "$root/etc/systemd/system/default.target"

# An image of its own: a guest on the host's files has all of them owned by who runs it.
truncate --size 4G "$work/root.img"
mkfs.ext4 -q -F -d "$root" "$work/root.img"
timeout --kill-after=10 "${LIFE_SECONDS:-1500}" linux.uml "ubd0=$work/root.img" root=/dev/ubda rootfstype=ext4 rw mem=3000M quiet \
  panic=-1 con=null con0=null,fd:1 con1=null "uml_dir=$work/uml/" init=/lib/systemd/systemd >"$work/console.log" 2>&1 </dev/null || true
debugfs -R "cat /life.log" "$work/root.img" > "$work/life.log" 2>/dev/null
[ -s "$work/life.log" ] && cat "$work/life.log" || tail -n 50 "$work/console.log"
grep -qx 'the whole life went well' "$work/life.log"
