// The Java clients of a play, each with its application in a thread of its own, in one process, and in one file, because that
// is what `java` runs from its source.
//
// Argument: a file that says which clients there are and when they start. Commands on standard input:
//   start MICROSECONDS   the play has begun at this time, counted from the Unix epoch
//   stall NAME MS        consumers of this name do not poll for so long
//   stop-sending         producers hand nothing over any more
//   end                  everybody closes in good order, then this process ends
// Everything that is seen is one line of JSON on standard output, as the histories of rehearsals have it. Before that comes
// a line that says that the process is ready, and after it a line that says that everybody has closed.

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.InvalidOffsetException;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.Metric;
import org.apache.kafka.common.MetricName;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public class Clients {
    static final List<Client> ALL = new ArrayList<>();
    static final Journal JOURNAL = new Journal();
    static volatile boolean sends = true;
    static volatile boolean ends = false;

    public static void main(String[] arguments) {
        PrintStream trouble = System.err;
        Thread.setDefaultUncaughtExceptionHandler((thread, error) -> error.printStackTrace(trouble));
        try {
            play(arguments[0]);
        } catch (Exception error) {
            error.printStackTrace(trouble);
        }
        // Whoever has started this process is gone, or nothing can be done for it.
        Runtime.getRuntime().halt(1);
    }

    static void play(String plans) throws IOException, InterruptedException {
        // Before anything logs: loggers keep the stream that they find.
        System.setOut(new PrintStream(new LogStream(), true));
        System.setErr(new PrintStream(new LogStream(), true));
        warmUp();
        for (JsonNode plan : new ObjectMapper().readTree(new File(plans))) {
            ALL.add(plan.has("group") ? new Reading(plan) : new Sending(plan));
        }
        JOURNAL.control("ready", LogStream.seen);
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            String[] words = line.split(" ");
            switch (words[0]) {
                case "start" -> start(Long.parseLong(words[1]));
                case "stall" -> stall(words[1], Long.parseLong(words[2]));
                case "stop-sending" -> sends = false;
                case "end" -> end();
                default -> throw new IllegalArgumentException(line);
            }
        }
    }

    /// Loads what every client needs, so that the first moments of a play are not spent on it.
    @SuppressWarnings("deprecation") // Kafka 3 has no other way to close a consumer within a time.
    static void warmUp() {
        Map<String, Object> settings = new HashMap<>(Map.of("bootstrap.servers", "127.0.0.1:1", "group.id", "warm-up"));
        new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer()).close(Duration.ZERO);
        settings.remove("group.id");
        new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer()).close(Duration.ZERO);
    }

    static void start(long startUnixUs) {
        JOURNAL.start(startUnixUs);
        ALL.forEach(Thread::start);
        Thread watch = new Thread(() -> {
            while (true) {
                LockSupport.parkNanos(Journal.FLUSH_EVERY_NANOS);
                ALL.forEach(Client::watch);
                JOURNAL.flush();
            }
        });
        watch.setDaemon(true);
        watch.start();
    }

    static void stall(String name, long ms) {
        for (Client client : ALL) {
            if (client.kind.equals(name) || client.getName().equals(name)) {
                client.stalledUntilUs = JOURNAL.now() + ms * 1000;
            }
        }
    }

    static void end() throws InterruptedException {
        sends = false;
        ends = true;
        ALL.forEach(LockSupport::unpark);
        await(Client.CLOSE_MS_MAX);
        // Whoever still waits for a cluster waits in vain.
        ALL.forEach(Thread::interrupt);
        await(Client.CLOSE_MS_MAX / 2);
        ALL.forEach(Client::watch);
        JOURNAL.flush();
        JOURNAL.control("ended", ALL.stream().noneMatch(Thread::isAlive));
        Runtime.getRuntime().halt(0);
    }

    /// Waits for everybody, so long in all.
    static void await(long ms) throws InterruptedException {
        long until = System.currentTimeMillis() + ms;
        for (Client client : ALL) {
            client.join(Math.max(1, until - System.currentTimeMillis()));
        }
    }
}

/// What was seen, on its way out.
class Journal {
    static final long FLUSH_EVERY_NANOS = 50_000_000;
    private static final ObjectMapper JSON = new ObjectMapper();
    private final PrintStream out = new PrintStream(new FileOutputStream(FileDescriptor.out), false, StandardCharsets.UTF_8);
    private final StringBuilder waiting = new StringBuilder();
    private volatile long originNanos = System.nanoTime();

    void start(long startUnixUs) {
        Instant now = Instant.now();
        long unixNanos = TimeUnit.SECONDS.toNanos(now.getEpochSecond()) + now.getNano();
        originNanos = System.nanoTime() - (unixNanos - startUnixUs * 1000);
    }

    /// Microseconds since the play has begun.
    long now() {
        return Math.max(0, (System.nanoTime() - originNanos) / 1000);
    }

    /// Takes down that a client sees something; `fields` are names and values in turn.
    void add(long atUs, String who, String what, Object... fields) {
        Map<String, Object> entry = new LinkedHashMap<>();
        entry.put("at_us", atUs);
        entry.put("who", who);
        entry.put("what", what);
        for (int at = 0; at < fields.length; at += 2) {
            entry.put((String) fields[at], fields[at + 1]);
        }
        line(entry);
    }

    /// Tells the process that has started this one how far it is.
    void control(String state, boolean value) {
        line(Map.of("state", state, "value", value));
        flush();
    }

    private void line(Map<String, Object> fields) {
        try {
            String text = JSON.writeValueAsString(fields);
            synchronized (waiting) {
                waiting.append(text).append('\n');
            }
        } catch (JsonProcessingException error) {
            throw new IllegalStateException(error);
        }
    }

    void flush() {
        String text;
        synchronized (waiting) {
            text = waiting.toString();
            waiting.setLength(0);
        }
        synchronized (out) {
            out.print(text);
            out.flush();
        }
    }
}

/// Gives lines that are logged to the client in whose threads they are.
class LogStream extends OutputStream {
    /// Whether anything was ever logged: without a binding of SLF4J nothing is.
    static volatile boolean seen = false;
    private static final Pattern LEVEL = Pattern.compile("(FATAL|ERROR|WARN|INFO|DEBUG|TRACE) ");
    private final ThreadLocal<ByteArrayOutputStream> begun = ThreadLocal.withInitial(ByteArrayOutputStream::new);

    @Override
    public void write(int letter) {
        if (letter != '\n') {
            begun.get().write(letter);
            return;
        }
        String line = begun.get().toString(StandardCharsets.UTF_8);
        begun.get().reset();
        seen |= line.startsWith("INFO ");
        Client client = Client.CURRENT.get();
        // Some messages have several lines. The first says what there is to say.
        if (client != null && LEVEL.matcher(line).lookingAt()) {
            client.logged(line);
        }
    }
}

/// One client and its application.
abstract class Client extends Thread {
    /// Threads that a client starts inherit it, so that what they log can be told from what others do.
    static final InheritableThreadLocal<Client> CURRENT = new InheritableThreadLocal<>();
    static final long CLOSE_MS_MAX = 10_000;
    private static final Pattern NODE = Pattern.compile("[Nn]ode (-?\\d+) ");

    final String kind;
    final JsonNode plan;
    final Map<String, Object> settings = new HashMap<>();
    final long startUs;
    volatile long stalledUntilUs = 0;
    /// How many connections it has opened so far, of those that were taken down.
    private double connections = 0;
    /// The library's own figures about the client as a whole.
    private final Map<String, Metric> figures = new ConcurrentHashMap<>();
    /// A lost connection, until it is known whether there was one.
    private Lost lost = null;

    private record Lost(long atUs, String node, String reason) {}

    Client(JsonNode plan) {
        super(plan.get("name").asText());
        this.plan = plan;
        kind = plan.get("kind").asText();
        startUs = plan.get("start_us").asLong();
        plan.get("settings").fieldNames().forEachRemaining(it -> settings.put(it, plan.get("settings").get(it).asText()));
    }

    abstract void live();

    abstract Map<MetricName, ? extends Metric> metrics();

    @Override
    public void run() {
        CURRENT.set(this);
        sleepUntil(startUs);
        if (Clients.ends) {
            return;
        }
        try {
            live();
        } catch (RuntimeException error) {
            died(error);
        }
    }

    /// The client is of no use any more, unless it is only that everything ends.
    void died(RuntimeException error) {
        if (!Clients.ends) {
            add("fatal", "reason", text(error));
        }
    }

    void add(String what, Object... fields) {
        Clients.JOURNAL.add(Clients.JOURNAL.now(), getName(), what, fields);
    }

    /// Sleeps, unless everything ends.
    static void sleepUntil(long us) {
        for (long left = us - Clients.JOURNAL.now(); left > 0 && !Clients.ends; left = us - Clients.JOURNAL.now()) {
            LockSupport.parkNanos(left * 1000);
        }
    }

    /// The library's words for an error, and for what caused it.
    static String text(Throwable error) {
        String text = error.getClass().getSimpleName() + ": " + error.getMessage();
        boolean hasCause = error.getCause() != null && error.getCause() != error;
        return hasCause ? text + "; caused by " + text(error.getCause()) : text;
    }

    double metric(String name) {
        if (figures.isEmpty() && metrics() != null) {
            metrics().forEach((key, metric) -> {
                if (key.tags().size() == 1) {
                    figures.put(key.name(), metric);
                }
            });
        }
        Metric metric = figures.get(name);
        return metric != null && metric.metricValue() instanceof Double value ? value : 0;
    }

    /// Takes down what shows in figures alone.
    void watch() {
        // Not under the lock that threads which log want, too.
        for (double now = metric("connection-creation-total"); connections < now; connections++) {
            add("connected");
        }
        synchronized (this) {
            takeDownLost();
        }
    }

    private void takeDownLost() {
        if (lost != null) {
            Clients.JOURNAL.add(lost.atUs, getName(), "disconnected", "reason", lost.reason);
            lost = null;
        }
    }


    /// A line of the log: level, class, message.
    synchronized void logged(String line) {
        Matcher matcher = NODE.matcher(line);
        String node = matcher.find() ? matcher.group(1) : "";
        if (line.startsWith("WARN ") || line.startsWith("ERROR ")) {
            int space = line.indexOf(' ');
            add("log", "level", line.substring(0, space).toLowerCase(), "text", line.substring(space + 1));
        }
        if (line.contains("Node " + node + " disconnected.") || line.contains("due to request timeout.")) {
            takeDownLost();
            lost = new Lost(Clients.JOURNAL.now(), node, line.substring(line.indexOf("] ") + 2));
        } else if (line.contains("could not be established") && lost != null && lost.node.equals(node)) {
            // It was a dial that has failed.
            lost = null;
        } else if (line.contains("Rebootstrapping with ")) {
            add("rebootstrapped");
        } else if (line.contains("Incremented producer epoch") || line.contains("in order to bump the epoch")) {
            add("epoch-bumped");
        }
    }
}

/// Writes numbered records, one every so often, in transactions or not.
class Sending extends Client {
    private static final String WAIT_FOR_ROOM = "bufferpool-wait-time-ns-total";
    private final String topic;
    private final long everyUs;
    private final int recordBytes;
    private final int transactionRecords;
    private volatile KafkaProducer<byte[], byte[]> producer;
    private long number = 0;
    /// Numbers of the records of the transaction that is open.
    private List<Long> open = new ArrayList<>();
    private boolean begun = false;
    /// What a record of the open transaction has failed with.
    private volatile Exception failure = null;
    private boolean dead = false;

    Sending(JsonNode plan) {
        super(plan);
        topic = plan.get("topic").asText();
        everyUs = 1_000_000 / plan.get("rate").asLong();
        recordBytes = plan.get("record_bytes").asInt();
        transactionRecords = plan.get("transaction_records").asInt(0);
    }

    @Override
    Map<MetricName, ? extends Metric> metrics() {
        return producer == null ? null : producer.metrics();
    }

    @Override
    void live() {
        producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
        try {
            if (transactionRecords > 0) {
                persist("initTransactions", producer::initTransactions);
            }
            long next = Clients.JOURNAL.now();
            while (!Clients.ends && !dead) {
                sleepUntil(next);
                if (transactionRecords > 0) {
                    steerTransaction();
                } else if (Clients.sends) {
                    send();
                }
                // Whoever was kept waiting does not catch up.
                next = Math.max(next + everyUs, Clients.JOURNAL.now());
            }
        } catch (KafkaException error) {
            died(error);
            dead = true;
        } finally {
            producer.close(dead ? Duration.ZERO : Duration.ofMillis(CLOSE_MS_MAX));
        }
    }

    private void send() {
        long own = number++;
        long atUs = Clients.JOURNAL.now();
        double waited = metric(WAIT_FOR_ROOM);
        add("sent", "number", own);
        if (transactionRecords > 0) {
            open.add(own);
        }
        try {
            producer.send(new ProducerRecord<>(topic, value(own)), (metadata, error) -> decided(own, metadata, error));
        } catch (KafkaException error) {
            // What belongs to one record the callback is told; this is about the producer.
            add("failed", "number", own, "reason", text(error));
            if (transactionRecords == 0) {
                throw error;
            }
            failure = error;
        }
        if (metric(WAIT_FOR_ROOM) > waited) {
            Clients.JOURNAL.add(atUs, getName(), "buffer-full");
        }
    }

    private void decided(long own, RecordMetadata metadata, Exception error) {
        if (error == null) {
            add("acknowledged", "number", own, "topic", metadata.topic(), "partition", metadata.partition(),
                "offset", metadata.offset());
        } else {
            add("failed", "number", own, "reason", text(error));
            failure = error;
        }
    }

    /// `42 checkout-1`, filled with dots to the size that was asked for.
    private byte[] value(long own) {
        String text = own + " " + getName();
        if (text.length() < recordBytes) {
            text = text + " " + ".".repeat(recordBytes - text.length() - 1);
        }
        return text.getBytes(StandardCharsets.UTF_8);
    }

    /// Ends a transaction that has all its records or has failed, or hands the next record over.
    private void steerTransaction() {
        if (begun && failure != null) {
            abort(failure);
        } else if (open.size() >= transactionRecords || (!Clients.sends && !open.isEmpty())) {
            try {
                persist("commitTransaction", producer::commitTransaction);
                ended(true);
            } catch (KafkaException error) {
                abort(error);
            }
        } else if (Clients.sends) {
            if (!begun) {
                failure = null;
                producer.beginTransaction();
                begun = true;
            }
            send();
        }
    }

    private void abort(Exception error) {
        add("error", "reason", "transaction: " + text(error));
        // What cannot be aborted either leaves this producer of no use.
        persist("abortTransaction", producer::abortTransaction);
        ended(false);
    }

    private void ended(boolean committed) {
        add("transaction", "numbers", open, "committed", committed);
        open = new ArrayList<>();
        begun = false;
        failure = null;
    }

    /// Calls again what has only taken longer than max.block.ms, as the library's documentation asks.
    private void persist(String name, Runnable call) {
        while (true) {
            try {
                call.run();
                return;
            } catch (TimeoutException error) {
                add("log", "level", "warn", "text", name + ": " + text(error));
                if (Clients.ends) {
                    throw error;
                }
            }
        }
    }
}

/// Reads whatever its group gives it.
class Reading extends Client implements ConsumerRebalanceListener {
    private static final Duration POLL = Duration.ofMillis(100);
    private static final Pattern PARTITION = Pattern.compile("partition (\\S+)-(\\d+)");
    private static final Pattern POSITION = Pattern.compile("(?:to position|known to diverge) FetchPosition\\{offset=(-?\\d+)");

    private final String group;
    private final List<String> topics = new ArrayList<>();
    private final TreeSet<List<Object>> assigned =
        new TreeSet<>((left, right) -> left.toString().compareTo(right.toString()));
    /// Why a position is being reset, by partition.
    private final Map<String, String> causes = new ConcurrentHashMap<>();
    private volatile KafkaConsumer<byte[], byte[]> consumer;
    private String lastError = null;

    Reading(JsonNode plan) {
        super(plan);
        group = plan.get("group").asText();
        plan.get("topics").forEach(topic -> topics.add(topic.asText()));
    }

    @Override
    Map<MetricName, ? extends Metric> metrics() {
        return consumer == null ? null : consumer.metrics();
    }

    @Override
    @SuppressWarnings("deprecation") // As above.
    void live() {
        consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        Duration patience = Duration.ofMillis(CLOSE_MS_MAX);
        try {
            consumer.subscribe(topics, this);
            while (!Clients.ends) {
                sleepUntil(stalledUntilUs);
                poll();
            }
        } catch (KafkaException error) {
            died(error);
            patience = Duration.ZERO;
        } finally {
            consumer.close(patience);
        }
    }

    private void poll() {
        try {
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(POLL)) {
                consumed(record);
                lastError = null;
            }
        } catch (InvalidOffsetException | RetriableException error) {
            // Without a position every poll says so again: once is enough, and not in a busy loop.
            if (!text(error).equals(lastError)) {
                lastError = text(error);
                add("error", "reason", lastError);
            }
            sleepUntil(Clients.JOURNAL.now() + POLL.toMillis() * 1000);
        }
    }

    private void consumed(ConsumerRecord<byte[], byte[]> record) {
        String[] words = new String(record.value(), StandardCharsets.UTF_8).split(" ", 3);
        if (words.length < 2 || !words[0].matches("\\d{1,19}")) {
            return;
        }
        add("consumed", "group", group, "topic", record.topic(), "partition", record.partition(),
            "offset", record.offset(), "producer", words[1], "number", Long.parseLong(words[0]));
    }

    private static List<List<Object>> pairs(Collection<TopicPartition> partitions) {
        return partitions.stream().map(it -> Arrays.<Object>asList(it.topic(), it.partition())).toList();
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
        assigned.addAll(pairs(partitions));
        add("assigned", "group", group, "partitions", new ArrayList<>(assigned));
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
        if (!partitions.isEmpty()) {
            assigned.removeAll(pairs(partitions));
            add("revoked", "group", group, "partitions", pairs(partitions));
        }
    }

    @Override
    synchronized void logged(String line) {
        super.logged(line);
        Matcher partition = PARTITION.matcher(line);
        if (!partition.find()) {
            return;
        }
        String place = partition.group();
        if (line.contains("is out of range for partition")) {
            causes.put(place, "OutOfRange");
        } else if (line.contains("Truncation detected")) {
            causes.put(place, "Truncated");
        }
        Matcher position = POSITION.matcher(line);
        if (position.find()) {
            // A group that starts has no position yet: that is no reset of one.
            String cause = causes.remove(place);
            if (cause != null) {
                add("reset", "group", group, "topic", partition.group(1), "partition",
                    Integer.parseInt(partition.group(2)), "offset", Long.parseLong(position.group(1)), "reason", cause);
            }
        }
    }
}
