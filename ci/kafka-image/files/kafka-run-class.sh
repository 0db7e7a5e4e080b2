#!/bin/bash
# kafka-run-class.sh CLASS ARGUMENT...: runs one of Kafka's classes. The jars are sorted, since an archive of
# recorded classes is good for exactly one class path.
libraries=/opt/kafka/libs
# Where MirrorMaker is of another version than the brokers it has its own.
[[ $1 != *.MirrorMaker || ! -d /opt/kafka/mirror ]] || libraries=/opt/kafka/mirror
classpath=$(printf '%s:' "$libraries"/*.jar)
# Tools log to standard error; servers, whose scripts say so, to standard output. Kafka 4 logs by Log4j 2, Kafka 3 by
# Log4j 1 (reload4j): each reads its own of the two properties.
file=/etc/kafka/docker/${LOGS_AS-tools-}log4j
logging="-Dlog4j2.configurationFile=${file}2.yaml -Dlog4j.configuration=file:$file.properties"
# Split on purpose: these variables hold lists of options.
# shellcheck disable=SC2086
exec java ${KAFKA_HEAP_OPTS:--Xmx256m} ${KAFKA_JVM_PERFORMANCE_OPTS:--XX:+UseSerialGC -XX:TieredStopAtLevel=1} \
  ${KAFKA_JMX_OPTS:-} ${KAFKA_LOG4J_OPTS:-$logging} \
  ${KAFKA_OPTS:-} -Dkafka.logs.dir=/opt/kafka/logs -cp "$classpath${CLASSPATH:-}" "$@"
