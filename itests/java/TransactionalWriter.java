// Writes transactions of ten records until it is killed, and says on its standard output what became of each.
// A transaction that fails is not tried again. As Kafka's documentation demands, it is aborted, and where the
// producer cannot do even that, a new producer with the same transactional id takes over.
//
// Arguments: bootstrap servers, topic, transactional id.

import java.util.Map;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.serialization.StringSerializer;

public class TransactionalWriter {
    static final int RECORDS = 10;

    public static void main(String[] arguments) throws InterruptedException {
        Map<String, Object> settings = Map.of(
            "bootstrap.servers", arguments[0], "transactional.id", arguments[2]);
        KafkaProducer<String, String> producer = open(settings);
        for (int transaction = 0; ; transaction++) {
            try {
                write(producer, arguments[1], transaction);
                say("committed", transaction, "");
            } catch (KafkaException error) {
                say("failed", transaction, error.toString());
                try {
                    producer.abortTransaction();
                    say("aborted", transaction, "");
                } catch (KafkaException worse) {
                    say("recreated", transaction, worse.toString());
                    producer.close();
                    producer = open(settings);
                }
            }
        }
    }

    static KafkaProducer<String, String> open(Map<String, Object> settings) {
        KafkaProducer<String, String> producer =
            new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer());
        producer.initTransactions();
        return producer;
    }

    static void write(KafkaProducer<String, String> producer, String topic, int transaction)
            throws InterruptedException {
        producer.beginTransaction();
        for (int number = 0; number < RECORDS; number++) {
            if (number == RECORDS / 2) {
                // The first half is in the cluster while the transaction stays open.
                producer.flush();
                say("half", transaction, "");
                Thread.sleep(200);
            }
            producer.send(new ProducerRecord<>(topic, transaction + "." + number));
        }
        producer.commitTransaction();
    }

    static void say(String name, int transaction, String error) {
        String text = error.replaceAll("[\\\\\"\\p{Cntrl}]", " ");
        System.out.println("{\"name\":\"" + name + "\",\"transaction\":" + transaction
            + ",\"error\":\"" + text + "\"}");
    }
}
