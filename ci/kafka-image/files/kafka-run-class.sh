#!/bin/bash
# kafka-run-class.sh CLASS ARGUMENT...: runs one of Kafka's classes. The jars are sorted, since an archive of
# recorded classes is good for exactly one class path.
classpath=$(printf '%s:' /opt/kafka/libs/*.jar)
# Split on purpose: these variables hold lists of options.
# shellcheck disable=SC2086
exec java ${KAFKA_HEAP_OPTS:--Xmx256m} ${KAFKA_JVM_PERFORMANCE_OPTS:--XX:+UseSerialGC -XX:TieredStopAtLevel=1} \
  ${KAFKA_JMX_OPTS:-} ${KAFKA_LOG4J_OPTS:--Dlog4j2.configurationFile=/etc/kafka/docker/tools-log4j2.yaml} \
  ${KAFKA_OPTS:-} -Dkafka.logs.dir=/opt/kafka/logs -cp "$classpath${CLASSPATH:-}" "$@"
