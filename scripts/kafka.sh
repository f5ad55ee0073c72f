#!/usr/bin/env bash
# Brings Apache Kafka's own jars (broker, storage tool, clients) through Maven, once, into the user's cache; prints the
# folder that holds them.
#
#   java -cp "$(scripts/kafka.sh)/*" kafka.Kafka server.properties
#
# The key is the list of what is asked for: change tests/support/kafka/pom.xml, and it is brought anew. INGESTD_CACHE
# overrides the place (default: $XDG_CACHE_HOME or ~/.cache). Needs a Java 17 JDK and Maven.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
pom=$root/tests/support/kafka/pom.xml
key=$(sha256sum "$pom" | cut -c1-16)
cache=${INGESTD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ingestd}
jars=$cache/kafka-$key

if [ ! -f "$jars/ready" ]; then
  mkdir -p "$cache"
  exec 9>"$jars.lock"
  flock 9
  if [ ! -f "$jars/ready" ]; then
    echo "bringing Apache Kafka into $jars" >&2
    # What an interrupted run has left is not to be trusted.
    rm -rf "$jars"
    mvn --quiet --batch-mode -Dstyle.color=never --file "$pom" \
      dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$jars" >&2
    touch "$jars/ready"
  fi
fi
echo "$jars"
