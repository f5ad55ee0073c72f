# Part of guest.sh: what the operator's guide (docs/operations.md) says to do, done as it says, on the running service with
# all sinks. Where the guide has `systemctl edit`, which wants a terminal, the file that it would write is written.
# shellcheck shell=bash
edited() { # edited UNIT: standard input is what the operator types
  mkdir -p "/etc/systemd/system/$1.d"
  cat > "/etc/systemd/system/$1.d/override.conf"
  systemctl daemon-reload
}
# More starts in five minutes than an operator makes: the limit of the unit is not to count them.
restart() {
  systemctl reset-failed ingestd.service
  systemctl restart ingestd.service
}
set_key() { # set_key SECTION KEY VALUE
  sed -i "/^\[$1\]/,/^\[/ s|^$2 = .*|$2 = $3|" /etc/ingestd/config.toml
}
# The host's curl, for what bash cannot speak.
curl() { chroot /host curl --silent --show-error "$@"; }
event() { echo "{\"eventId\":\"$1\",\"eventType\":\"cart_created\",\"timestamp\":\"2026-01-01T00:00:00Z\",\"sessionId\":\"s\",\"storeId\":\"t\",\"data\":{}}"; }

curl --fail http://127.0.0.1:3001/health/ready > /dev/null || fail "the guide's first look"

# Who may send; then the address, which wants that.
cp /etc/ingestd/config.toml /config.before
set_key auth intake '"key"'
ingestd check --config /etc/ingestd/config.toml > /check.txt 2>&1 || fail "check: $(cat /check.txt)"
restart || fail "restart with keys"
key=$(ingestd admin --json tokens add --tenant shop --scope intake | sed -n 's/.*"\(token\|key\|secret\)": *"\([^"]*\)".*/\2/p')
[ -n "$key" ] || fail "no key: $(ingestd admin --json tokens list)"
# The guest's kernel has no IPv6, so not [::]:3001.
edited ingestd.socket <<'END'
[Socket]
ListenStream=
ListenStream=0.0.0.0:3001
END
systemctl reset-failed ingestd.service
systemctl stop ingestd.service && systemctl restart ingestd.socket && systemctl start ingestd.service || fail "another address"
[[ $(post nobody) == *' 401 '* ]] || fail "an event without a key: $(post nobody)"
body=$(curl --header "Authorization: Bearer $key" --json "$(event with-key)" http://127.0.0.1:3001/events)
[[ $body == *'"status":"accepted"'* ]] || fail "an event with a key: $body"
well "guide: keys, and another address"

# TLS with credentials of systemd.
chroot /host openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=localhost \
  -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout /tmp/key.pem -out /tmp/cert.pem 2> /openssl.txt || fail "openssl: $(cat /openssl.txt)"
install -m 600 /servers/cert.pem /etc/ingestd/credentials/tls_cert
install -m 600 /servers/key.pem /etc/ingestd/credentials/tls_key
set_key tls enabled true
set_key tls cert_file '"/run/credentials/ingestd.service/ingestd_tls_cert"'
set_key tls key_file '"/run/credentials/ingestd.service/ingestd_tls_key"'
restart || fail "restart with TLS"
body=$(curl --cacert /tmp/cert.pem --header "Authorization: Bearer $key" --json "$(event with-tls)" https://localhost:3001/events)
[[ $body == *'"status":"accepted"'* ]] || fail "an event over TLS: $body"
well "guide: TLS from credentials that only root can read"

# A mistake, found by `check`, made all the same, mended.
sed -i 's/^\[limits\]/[limits]\nevents_maxx = 3/' /etc/ingestd/config.toml
ingestd check --config /etc/ingestd/config.toml > /check.txt 2>&1 && fail "check finds no mistake"
grep -q events_maxx /check.txt || fail "check does not name the mistake: $(cat /check.txt)"
systemctl restart ingestd.service 2>/dev/null && fail "it starts with a mistake"
[ "$(systemctl show --value --property ExecMainStatus ingestd.service)" = 64 ] || fail "its status: $(systemctl show --value --property ExecMainStatus ingestd.service)"
given_up() { { exec 6<>/dev/tcp/127.0.0.1/3001; } 2>/dev/null && exec 6>&-; [ "$(systemctl is-active ingestd.socket)" = failed ]; }
within 120 "the socket gives up" given_up
cp /config.before /etc/ingestd/config.toml
rm -r /etc/systemd/system/ingestd.socket.d
systemctl daemon-reload
systemctl reset-failed ingestd.service ingestd.socket
systemctl start ingestd.socket ingestd.service || fail "the start after a mistake"
[[ $(post first) == *'"duplicate":true'* ]] || fail "the first event after a mistake"
well "guide: a mistake in the configuration ends in status 64, and two commands bring it back"

# A backup, more events, and the backup in the place of the original.
install -d -o ingestd -g ingestd -m 750 /backup
edited ingestd.service <<'END'
[Service]
ReadWritePaths=/backup
END
restart || fail "restart with a place for backups"
stored before-backup || fail "an event before the backup"
ingestd admin flush || fail "flush"
backup=/backup/ingestd-$(date +%F)
ingestd admin checkpoint "$backup" > /checkpoint.txt 2>&1 || fail "checkpoint: $(cat /checkpoint.txt)"
systemctl stop ingestd.socket ingestd.service
mv /var/lib/ingestd /var/lib/ingestd.before
cp -a "$backup" /var/lib/ingestd
mv /var/lib/ingestd.before/events /var/lib/ingestd/
chown -R ingestd: /var/lib/ingestd
runuser -u ingestd -- ingestd wal verify --data-dir /var/lib/ingestd > /verify.txt 2>&1 || fail "wal verify of the copy: $(cat /verify.txt)"
systemctl start ingestd.service 2>/dev/null && fail "a copy starts before anybody has chosen"
systemctl reset-failed ingestd.service
mkdir -p /run/systemd/system/ingestd.service.d
cat > /run/systemd/system/ingestd.service.d/replace.conf <<'END'
[Service]
ExecStart=
ExecStart=/usr/bin/ingestd serve --config /etc/ingestd/config.toml --replace
END
systemctl daemon-reload
systemctl start ingestd.service || fail "the copy in the original's place"
rm /run/systemd/system/ingestd.service.d/replace.conf
systemctl daemon-reload
ingestd admin sinks || fail "admin sinks"
restart || fail "a start after the choice"
[[ $(post before-backup) == *'"duplicate":true'* ]] || fail "an event of the backup is lost"
stored after-restore || fail "an event after the restore"
ingestd admin flush || fail "flush after the restore: $(ingestd admin sinks)"
for sink in parquet clickhouse kafka; do
  ingestd admin verify "$sink" > /verify.txt 2>&1 || fail "verify $sink after the restore: $(cat /verify.txt)"
done
ingestd admin audit || fail "the account after the restore"
well "guide: backed up, restored in the original's place, all three sinks go on"

# The same backup beside the original.
cp -a "$backup" /srv/ingestd-2
env -u INGESTD_ADMIN_SOCKET ingestd serve --data-dir /srv/ingestd-2 --listen 127.0.0.1:3101 --as-new-node > /second.txt 2>&1 &
second=$!
is_second() { curl --fail http://127.0.0.1:3101/health/ready > /dev/null 2>&1; }
within 90 "a second node" is_second
ingestd admin --socket /srv/ingestd-2/admin.sock status > /status.txt 2>&1 || fail "the second node's status: $(cat /status.txt)"
kill "$second"
wait "$second" || fail "the second node's end: $(tail -n 5 /second.txt)"
ingestd admin sinks > /status.txt 2>&1 || fail "the original after the second node's end: $(cat /status.txt)"
well "guide: the same backup as a new node beside the original"
