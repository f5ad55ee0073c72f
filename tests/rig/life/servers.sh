#!/bin/bash
# Starts, in the guest, a real ClickHouse on 127.0.0.1:8123 and a real Kafka on 127.0.0.1:9092, out of the host's own files:
#   servers.sh start
# The host's root is seen under /host; what the servers write goes to the guest's own disk.
set -euo pipefail
. /servers.env

mkdir -p /host /servers
if ! mountpoint -q /host; then
  mount -t hostfs none /host -o /
  mount -t proc proc /host/proc
  mount --bind /dev /host/dev
  mount --bind /servers /host/tmp
fi
cp /clickhouse_server.py /servers/
cat > /servers/kafka.properties <<END
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093
advertised.listeners=PLAINTEXT://127.0.0.1:9092
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:9093
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
log.cleaner.dedupe.buffer.size=4194304
log.dirs=/tmp/kafka
END
java=("$JAVA" -Xmx256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:-UsePerfData -cp "$JARS/*")
chroot /host "${java[@]}" kafka.tools.StorageTool format --standalone -t aW5nZXN0ZC10ZXN0cy0wMQ -c /tmp/kafka.properties
systemd-run --unit kafka --quiet chroot /host "${java[@]}" kafka.Kafka /tmp/kafka.properties
# It serves for as long as its standard input is open.
systemd-run --unit clickhouse --quiet chroot /host /bin/sh -c \
  "sleep infinity | exec '$PYTHON' /tmp/clickhouse_server.py --folder /tmp/clickhouse --port 8123"
