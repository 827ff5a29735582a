import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.TransactionState;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** What the transactional producer of Java does in good and in bad cases. Arguments: --bootstrap-server X PREFIX. */
public final class TransactionCalls {
    private final String bootstrap;
    private final String prefix;
    private final Admin admin;
    private final TopicPartition input;
    private final TopicPartition output;

    private TransactionCalls(String bootstrap, String prefix) throws Exception {
        this.bootstrap = bootstrap;
        this.prefix = prefix;
        this.admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
        this.input = new TopicPartition(prefix + "input", 0);
        this.output = new TopicPartition(prefix + "output", 0);
        admin.createTopics(List.of(
            new NewTopic(input.topic(), 1, (short) 1), new NewTopic(output.topic(), 3, (short) 1))).all().get();
    }

    public static void main(String[] args) throws Exception {
        TransactionCalls calls = new TransactionCalls(args[1], args[2]);
        calls.commitAndAbort();
        calls.fencing();
        calls.offsets("classic");
        calls.offsets("consumer");
        calls.timeouts();
        calls.admin.close();
    }

    private void commitAndAbort() throws Exception {
        try (Producer<String, String> producer = producer("ends", Map.of())) {
            Attempt.fails("begin before init", producer::beginTransaction);
            producer.initTransactions();
            Attempt.fails("commit before begin", producer::commitTransaction);
            for (String end : List.of("committed", "aborted", "committed again")) {
                producer.beginTransaction();
                for (int partition = 0; partition < 3; partition++) {
                    producer.send(new ProducerRecord<>(output.topic(), partition, null, end));
                }
                producer.flush(); // records that were not sent yet would not even be written
                if (end.equals("aborted")) producer.abortTransaction();
                else producer.commitTransaction();
            }
            producer.beginTransaction();
            Attempt.act("commit of nothing", producer::commitTransaction);
            producer.beginTransaction();
            Attempt.act("abort of nothing", producer::abortTransaction);
            producer.beginTransaction();
            producer.send(new ProducerRecord<>(output.topic(), 0, null, "open")).get();
            System.out.println("committed: " + read(output, "read_committed", 2) + ", all: "
                + read(output, "read_uncommitted", 4));
        }
    }

    private void fencing() throws Exception {
        try (Producer<String, String> old = producer("fenced", Map.of());
                Producer<String, String> young = producer("fenced", Map.of())) {
            old.initTransactions();
            old.beginTransaction();
            old.send(new ProducerRecord<>(output.topic(), 1, null, "of the old one")).get();
            young.initTransactions();
            Attempt.fails("send of a fenced producer", () ->
                old.send(new ProducerRecord<>(output.topic(), 1, null, "too late")).get());
            Attempt.fails("commit of a fenced producer", old::commitTransaction);
            Attempt.fails("abort of a fenced producer", old::abortTransaction);
            young.beginTransaction();
            young.send(new ProducerRecord<>(output.topic(), 1, null, "of the young one"));
            Attempt.act("commit of its successor", young::commitTransaction);
        }
        try (Producer<String, String> producer = producer("fenced-by-admin", Map.of())) {
            producer.initTransactions();
            producer.beginTransaction();
            producer.send(new ProducerRecord<>(output.topic(), 1, null, "before the fence")).get();
            admin.fenceProducers(List.of(prefix + "fenced-by-admin")).all().get();
            Attempt.fails("commit after fenceProducers", producer::commitTransaction);
        }
        System.out.println("committed: " + read(new TopicPartition(output.topic(), 1), "read_committed", 3));
    }

    private void offsets(String protocol) throws Exception {
        String group = prefix + "group-" + protocol;
        Map<TopicPartition, OffsetAndMetadata> two = Map.of(input, new OffsetAndMetadata(2, Optional.of(0), "two"));
        try (Producer<String, String> producer = producer("offsets-" + protocol, Map.of());
                Consumer<String, String> consumer = consumer(group, Map.of("group.protocol", protocol))) {
            producer.initTransactions();
            consumer.subscribe(List.of(input.topic()));
            Attempt.await(protocol + ": assigned", () -> {
                consumer.poll(Duration.ofMillis(50));
                return !consumer.assignment().isEmpty();
            });
            producer.beginTransaction();
            producer.sendOffsetsToTransaction(two, consumer.groupMetadata());
            if (protocol.equals("consumer")) { // the classic one may answer what it asked for before
                Attempt.fails("committed() while they are pending", () ->
                    consumer.committed(Set.of(input), Duration.ofMillis(500)));
            }
            producer.commitTransaction();
            Attempt.show("committed() after commit", () -> consumer.committed(Set.of(input)).get(input).offset()
                + " " + consumer.committed(Set.of(input)).get(input).metadata());
            producer.beginTransaction();
            producer.sendOffsetsToTransaction(Map.of(input, new OffsetAndMetadata(9)), consumer.groupMetadata());
            producer.abortTransaction();
            Attempt.show("committed() after abort", () -> consumer.committed(Set.of(input)).get(input).offset());

            ConsumerGroupMetadata now = consumer.groupMetadata();
            ConsumerGroupMetadata stale =
                new ConsumerGroupMetadata(group, now.generationId() + 1, now.memberId(), Optional.empty());
            refused(producer, two, stale, "another generation");
            refused(producer, two, new ConsumerGroupMetadata(group, now.generationId(), "nobody", Optional.empty()),
                "an unknown member");
            producer.beginTransaction();
            producer.sendOffsetsToTransaction(two, new ConsumerGroupMetadata(group));
            Attempt.fails("without a member while the group has some", producer::commitTransaction);
        }
    }

    private void refused(Producer<String, String> producer, Map<TopicPartition, OffsetAndMetadata> offsets,
            ConsumerGroupMetadata metadata, String who) {
        producer.beginTransaction();
        Attempt.fails("offsets of " + who, () -> {
            producer.sendOffsetsToTransaction(offsets, metadata);
            producer.commitTransaction();
        });
        Attempt.fails("abort after it", producer::abortTransaction);
    }

    private void timeouts() throws Exception {
        try (Producer<String, String> producer = producer("patient", Map.of("transaction.timeout.ms", 10_000_000))) {
            Attempt.fails("a transaction timeout above transaction.max.timeout.ms", producer::initTransactions);
        }
        String slow = prefix + "slow";
        try (Producer<String, String> producer = producer("slow", Map.of("transaction.timeout.ms", 1000))) {
            producer.initTransactions();
            producer.beginTransaction();
            producer.send(new ProducerRecord<>(output.topic(), 2, null, "too slow")).get();
            Attempt.await("the coordinator aborts it", () -> stateOf(slow) == TransactionState.COMPLETE_ABORT);
            Attempt.fails("commit after the timeout", producer::commitTransaction);
        }
        System.out.println("committed: " + read(new TopicPartition(output.topic(), 2), "read_committed", 2));
    }

    private TransactionState stateOf(String transactionalId) {
        try {
            return admin.describeTransactions(List.of(transactionalId)).description(transactionalId).get().state();
        } catch (Exception failed) {
            throw new IllegalStateException(failed);
        }
    }

    private TreeSet<String> read(TopicPartition partition, String isolation, int count) {
        TreeSet<String> found = new TreeSet<>();
        int left = count;
        try (Consumer<String, String> consumer = consumer(null, Map.of("isolation.level", isolation))) {
            consumer.assign(List.of(partition));
            long deadline = System.currentTimeMillis() + 20_000;
            while (left > 0 && System.currentTimeMillis() < deadline) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(100))) {
                    found.add(record.value());
                    left--;
                }
            }
        }
        if (left != 0) found.add("but " + left + " too few");
        return found;
    }

    private Producer<String, String> producer(String id, Map<String, Object> more) {
        Map<String, Object> settings = new HashMap<>(more);
        settings.put("bootstrap.servers", bootstrap);
        settings.put("transactional.id", prefix + id);
        return new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer());
    }

    private Consumer<String, String> consumer(String group, Map<String, Object> more) {
        Map<String, Object> settings = new HashMap<>(more);
        settings.put("bootstrap.servers", bootstrap);
        if (group != null) settings.put("group.id", group);
        settings.put("enable.auto.commit", false);
        settings.put("auto.offset.reset", "earliest");
        return new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
    }
}
