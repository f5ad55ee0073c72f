#!/bin/bash
# Runs in the guest, as root, once systemd is up. Ends at the first thing that does not hold.
set -uo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive INGESTD_ADMIN_SOCKET=/run/ingestd/admin.sock

fail() {
  echo "FAILED: $*"
  systemctl status --no-pager --full ingestd.service ingestd.socket
  journalctl --no-pager --lines 60 --unit ingestd.service --unit ingestd.socket
  exit 1
}
well() { echo "ok ($SECONDS s): $*"; }
# Waits for what a command says; a minute is long for any of it, a start on a busy machine included.
within() { # within SECONDS WHAT COMMAND…
  local until=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do [ $SECONDS -lt $until ] || fail "not in time: $what"; sleep 0.2; done
}
pid() { systemctl show --value --property MainPID ingestd.service; }
is_active() { [ "$(systemctl is-active ingestd.service)" = active ]; }
is_another() { is_active && [ "$(pid)" != 0 ] && [ "$(pid)" != "$1" ]; }
# One request on a connection of its own; prints the answer.
post() { # post ID
  local body="{\"eventId\":\"$1\",\"eventType\":\"cart_created\",\"timestamp\":\"2026-01-01T00:00:00Z\",\"sessionId\":\"s\",\"storeId\":\"t\",\"data\":{}}"
  { exec 3<>/dev/tcp/127.0.0.1/3001; } 2>/dev/null || { echo refused; return 1; }
  printf 'POST /events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' ${#body} "$body" >&3
  timeout 120 cat <&3
  exec 3>&-
}
stored() { [[ $(post "$1") == *'"status":"accepted"'* ]]; }

dpkg --install /older.deb || fail "dpkg --install"
within 90 "active after the installation" is_active
[ "$(systemctl is-active ingestd.socket)" = active ] || fail "the socket is not active"
[ "$(systemctl is-enabled ingestd.service ingestd.socket | uniq)" = enabled ] || fail "not enabled"
[ "$(stat -c '%U:%G %a' /var/lib/ingestd)" = "ingestd:ingestd 750" ] || fail "the data folder: $(stat -c '%U:%G %a' /var/lib/ingestd)"
[ "$(stat -c '%a' /run/ingestd/admin.sock)" = 660 ] || fail "the admin socket"
stored first || fail "the first event"
ingestd admin status >/dev/null || fail "ingestd admin status"
well "installed: ready, an event taken, the admin socket answers"

main=$(pid)
for place in /etc/x /usr/x /var/x /root/x /home/x; do
  nsenter --target "$main" --mount touch "$place" 2>/dev/null && fail "it could write $place"
done
nsenter --target "$main" --mount touch /var/lib/ingestd/x || fail "it cannot write its own folder"
rm -f /var/lib/ingestd/x
grep -Eq '^CapEff:[[:space:]]*0+$' "/proc/$main/status" || fail "it has capabilities"
grep -Eq '^NoNewPrivs:[[:space:]]*1$' "/proc/$main/status" || fail "it may gain privileges"
well "the sandbox bites: it writes only its own folders, $(grep -E '^Seccomp:' "/proc/$main/status" | tr '\t' ' ')"

kill -9 "$main"
within 90 "another process after a crash" is_another "$main"
[[ $(post first) == *'"duplicate":true'* ]] || fail "the first event is lost after a crash"
well "crash: started again, nothing lost"

main=$(pid)
systemctl reload ingestd.service || fail "reload"
within 60 "active after a reload" is_active
[ "$(pid)" = "$main" ] || fail "a reload has restarted it"
well "reload"

rm -f /stop
: > /load
{
  number=0
  while [ ! -e /stop ]; do
    number=$((number + 1))
    # A request that failed may be repeated once, on a new connection; a refused connection never.
    answer=$(post "load-$number") || { echo "refused $number" >> /load; continue; }
    [[ $answer == *'"status":"accepted"'* ]] || answer=$(post "load-$number") || { echo "refused $number" >> /load; continue; }
    [[ $answer == *'"status":"accepted"'* ]] && echo "taken $number" >> /load || echo "failed $number: $answer" >> /load
  done
} &
load=$!
for _ in 1 2 3; do
  taken=$(grep -c ^taken /load)
  within 90 "events come in" eval "[ \$(grep -c ^taken /load) -gt $((taken + 5)) ]"
  systemctl restart ingestd.service || fail "restart"
done
touch /stop
wait "$load"
grep -Eqv '^taken' /load && fail "under restarts: $(grep -Ev '^taken' /load | head -n 3)"
well "three restarts under load: $(grep -c ^taken /load) requests, none refused, none failed"

main=$(pid)
kill -STOP "$main"
within 180 "another process after the watchdog" is_another "$main"
journalctl --no-pager --unit ingestd.service | grep -qi 'watchdog timeout' || fail "it was not the watchdog"
stored after-watchdog || fail "an event after the watchdog"
well "stuck: the watchdog has ended it, and it runs again"

echo '# the operator was here' >> /etc/ingestd/config.toml
main=$(pid)
before=$(ingestd --version)
dpkg --install --force-confold /ingestd.deb || fail "the newer package"
within 90 "another process after an upgrade" is_another "$main"
tail -n 1 /etc/ingestd/config.toml | grep -q 'operator was here' || fail "an upgrade has taken the configuration"
[[ $(post first) == *'"duplicate":true'* ]] || fail "an upgrade has lost the first event"
ingestd check --config /etc/ingestd/config.toml > /check.txt 2>&1 || fail "the newer release does not take the old configuration: $(cat /check.txt)"
tr '\0' '\n' < "/proc/$(pid)/environ" | grep -q "^INGESTD_BOOT_ID=$(tr -d - < /proc/sys/kernel/random/boot_id)" || fail "the unit does not tell the boot"
journalctl --no-pager --unit ingestd.service "_PID=$(pid)" | grep -q 'which boot' && fail "it does not know the boot"
well "upgrade from $before to $(ingestd --version), $(cmp -s /older.deb /ingestd.deb && echo 'the same' || echo another) package: restarted, data and configuration kept"

/servers.sh > /servers.txt 2>&1 || fail "ClickHouse and Kafka: $(tail -n 20 /servers.txt)"
answers() { { exec 4<>"/dev/tcp/127.0.0.1/$1"; } 2>/dev/null && exec 4>&-; }
within 300 "ClickHouse answers" answers 8123
within 300 "Kafka answers" answers 9092
sed -i '/^\[clickhouse\]/,/^\[/ s/^enabled = false/enabled = true/; /^\[kafka\]/,/^\[/ s/^enabled = false/enabled = true/' /etc/ingestd/config.toml
[ "$(grep -c '^enabled = true' /etc/ingestd/config.toml)" -ge 3 ] || fail "the sinks cannot be switched on"
systemctl restart ingestd.service || fail "restart with all sinks: $(journalctl --no-pager --lines 20 --unit ingestd.service)"
for number in $(seq 1 20); do stored "all-sinks-$number" || fail "an event with all sinks on"; done
ingestd admin flush || fail "flush"
for sink in parquet clickhouse kafka; do
  ingestd admin verify "$sink" > /verify.txt 2>&1 || fail "verify $sink: $(cat /verify.txt)"
done
ingestd admin audit || fail "the account"
taken=$(($(grep -c ^taken /load) + 22))
query() { # query SQL
  exec 5<>/dev/tcp/127.0.0.1/8123
  printf 'POST / HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s' ${#1} "$1" >&5
  timeout 60 sed '1,/^\r$/d' <&5
  exec 5>&-
}
rows=$(query 'SELECT count(), uniqExact(seq) FROM events_raw' | tr '\t\r' '  ')
well "all sinks on, in the sandbox: verified, the account balances; events_raw has (rows, positions) $rows, $taken events were taken"

. /guide.sh

systemctl stop ingestd.socket ingestd.service || fail "stop"
[ "$(systemctl show --value --property Result ingestd.service)" = success ] || fail "the stop"
journalctl --no-pager --unit ingestd.service --lines 20 | grep -q 'everything acknowledged is in the log' || fail "it did not drain"
runuser --user ingestd -- ingestd wal verify --data-dir /var/lib/ingestd >/dev/null || fail "wal verify"
well "stop: drained, the log is sound"

dpkg --remove ingestd || fail "dpkg --remove"
[ -d /var/lib/ingestd/log ] && [ -e /etc/ingestd/config.toml ] || fail "removal has taken data or configuration"
dpkg --purge ingestd || fail "dpkg --purge"
[ ! -e /var/lib/ingestd ] && [ ! -e /etc/ingestd ] || fail "purge has left $(ls -d /var/lib/ingestd /etc/ingestd 2>/dev/null)"
well "removed with data kept, purged with nothing left"
echo "the whole life went well"
