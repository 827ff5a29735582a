import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Copies a topic in transactions, as a member of a group of the new protocol (KIP-848), and aborts a third of them:
 * what TransactionalMessageCopier of kafka-tools does as a member of a classic group. Never ends by itself.
 *
 * <p>Arguments: HOST:PORT, input topic, output topic, group, transactional id, transaction timeout in milliseconds.
 */
public final class Copier {
    private static final int RECORDS_PER_TRANSACTION = 50;

    private final Consumer<String, String> consumer;
    private final Producer<String, String> producer;

    private Copier(String bootstrap, String group, String transactionalId, int timeoutMs) {
        consumer = new KafkaConsumer<>(Map.of(
            "bootstrap.servers", bootstrap,
            "group.id", group,
            "group.protocol", "consumer",
            "isolation.level", "read_committed",
            "enable.auto.commit", false,
            "auto.offset.reset", "earliest",
            "max.poll.records", RECORDS_PER_TRANSACTION), new StringDeserializer(), new StringDeserializer());
        producer = new KafkaProducer<>(Map.of(
            "bootstrap.servers", bootstrap,
            "transactional.id", transactionalId,
            "transaction.timeout.ms", timeoutMs,
            "batch.size", 512), new StringSerializer(), new StringSerializer());
    }

    public static void main(String[] args) {
        Copier copier = new Copier(args[0], args[3], args[4], Integer.parseInt(args[5]));
        copier.consumer.subscribe(List.of(args[1]));
        copier.producer.initTransactions();
        Random dice = new Random();
        while (true) {
            ConsumerRecords<String, String> records = copier.consumer.poll(Duration.ofMillis(200));
            if (records.isEmpty()) continue;
            try {
                copier.copy(records, args[2]);
                if (dice.nextInt(3) == 0) copier.abort();
                else copier.producer.commitTransaction();
            } catch (ProducerFencedException replaced) {
                throw replaced; // ends the program: another one has taken over
            } catch (KafkaException failed) {
                System.out.println(failed);
                copier.abort();
            }
        }
    }

    private void copy(ConsumerRecords<String, String> records, String output) {
        Map<TopicPartition, OffsetAndMetadata> positions = new HashMap<>();
        producer.beginTransaction();
        for (ConsumerRecord<String, String> record : records) {
            producer.send(new ProducerRecord<>(output, record.partition(), record.key(), record.value()));
            positions.put(new TopicPartition(record.topic(), record.partition()),
                new OffsetAndMetadata(record.offset() + 1));
        }
        producer.sendOffsetsToTransaction(positions, consumer.groupMetadata());
    }

    private void abort() {
        producer.abortTransaction();
        Map<TopicPartition, OffsetAndMetadata> committed = consumer.committed(consumer.assignment());
        for (TopicPartition partition : consumer.assignment()) {
            OffsetAndMetadata offset = committed.get(partition);
            if (offset == null) consumer.seekToBeginning(List.of(partition));
            else consumer.seek(partition, offset.offset());
        }
    }
}
