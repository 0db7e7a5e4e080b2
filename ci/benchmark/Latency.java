import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Records at a fixed rate, and how long each took from the moment at which it was due: to its acknowledgement, and to a consumer.
 * A stall therefore counts for every record that it delays. Arguments: bootstrap, topic, records a second, seconds to warm up,
 * seconds that count, bytes of a record. Prints one line of JSON, times in microseconds.
 */
public class Latency {
    /** Times by record number; a record that is not seen keeps -1. */
    private static String percentiles(long[] nanos, int from) {
        long[] sorted = Arrays.copyOfRange(nanos, from, nanos.length);
        Arrays.sort(sorted);
        long missing = Arrays.stream(sorted).takeWhile(time -> time < 0).count();
        int count = sorted.length - (int) missing;
        var text = new StringBuilder("{\"missing\":" + missing);
        for (var part : Map.of("p50", 0.5, "p95", 0.95, "p99", 0.99, "p999", 0.999).entrySet()) {
            int index = (int) missing + Math.min(count - 1, (int) (count * part.getValue()));
            text.append(",\"").append(part.getKey()).append("\":").append(count > 0 ? sorted[index] / 1000 : -1);
        }
        return text.append('}').toString();
    }

    public static void main(String[] arguments) throws Exception {
        String bootstrap = arguments[0];
        String topic = arguments[1];
        int rate = Integer.parseInt(arguments[2]);
        int warm = rate * Integer.parseInt(arguments[3]);
        int total = warm + rate * Integer.parseInt(arguments[4]);
        int bytes = Integer.parseInt(arguments[5]);
        long[] acknowledged = new long[total];
        long[] consumed = new long[total];
        Arrays.fill(acknowledged, -1);
        Arrays.fill(consumed, -1);
        var seen = new AtomicInteger();
        var positioned = new CountDownLatch(1);

        var consuming = new Thread(() -> {
            try (var consumer = new KafkaConsumer<>(Map.<String, Object>of("bootstrap.servers", bootstrap),
                    new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
                var partitions = new ArrayList<TopicPartition>();
                consumer.partitionsFor(topic).forEach(p -> partitions.add(new TopicPartition(topic, p.partition())));
                consumer.assign(partitions);
                consumer.seekToEnd(partitions);
                partitions.forEach(consumer::position);
                positioned.countDown();
                long idleSince = System.nanoTime();
                while (seen.get() < total && System.nanoTime() - idleSince < 10_000_000_000L) {
                    for (var record : consumer.poll(Duration.ofMillis(100))) {
                        var value = ByteBuffer.wrap(record.value());
                        long due = value.getLong();
                        idleSince = System.nanoTime();
                        consumed[value.getInt()] = idleSince - due;
                        seen.incrementAndGet();
                    }
                }
            }
        });
        consuming.start();
        positioned.await();

        Map<String, Object> properties = Map.of("bootstrap.servers", bootstrap, "acks", "1", "enable.idempotence", "false",
                "linger.ms", "0");
        try (var producer = new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer())) {
            producer.partitionsFor(topic);
            long start = System.nanoTime() + 10_000_000;
            for (int i = 0; i < total; i++) {
                int number = i;
                long due = start + i * 1_000_000_000L / rate;
                for (long left = due - System.nanoTime(); left > 0; left = due - System.nanoTime()) {
                    LockSupport.parkNanos(left);
                }
                byte[] value = new byte[bytes];
                ByteBuffer.wrap(value).putLong(due).putInt(number);
                producer.send(new ProducerRecord<>(topic, value), (metadata, failure) -> {
                    if (failure == null) {
                        acknowledged[number] = System.nanoTime() - due;
                    }
                });
            }
        }
        consuming.join();
        System.out.println("{\"ack\":" + percentiles(acknowledged, warm) + ",\"e2e\":" + percentiles(consumed, warm) + "}");
    }
}
