import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.Supplier;
import java.util.regex.Pattern;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** What Java's consumer does, with both group protocols. Arguments: --bootstrap-server X PREFIX. */
public final class ConsumerCalls {
    private final String bootstrap;
    private final String prefix;
    private final String topic;
    private final long start = System.currentTimeMillis() - 3_600_000;

    private ConsumerCalls(String bootstrap, String prefix) throws Exception {
        this.bootstrap = bootstrap;
        this.prefix = prefix;
        this.topic = prefix + "one";
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            admin.createTopics(List.of(new NewTopic(topic, 2, (short) 1), new NewTopic(prefix + "two", 1, (short) 1)))
                .all().get();
        }
        try (Producer<String, String> producer = new KafkaProducer<>(
                Map.of("bootstrap.servers", bootstrap), new StringSerializer(), new StringSerializer())) {
            for (int n = 0; n < 10; n++) {
                producer.send(new ProducerRecord<>(topic, n % 2, start + 1000L * n, null, "value " + n)).get();
            }
        }
    }

    public static void main(String[] args) throws Exception {
        ConsumerCalls calls = new ConsumerCalls(args[1], args[2]);
        for (String protocol : List.of("classic", "consumer")) {
            System.out.println("group.protocol=" + protocol);
            calls.subscribe(protocol);
            calls.share(protocol);
            calls.staticMembers(protocol);
            calls.patterns(protocol);
            calls.assign(protocol);
        }
        calls.migrate();
    }

    private void subscribe(String protocol) throws Exception {
        try (Consumer<String, String> consumer = consumer("g", protocol, Map.of("max.poll.records", 3))) {
            consumer.subscribe(List.of(topic));
            Attempt.await("read all", counting(consumer, 10));
            TopicPartition zero = new TopicPartition(topic, 0);
            Attempt.show("position", () -> consumer.position(zero));
            Attempt.show("lag", () -> consumer.currentLag(zero));
            Attempt.show("ends", () -> consumer.beginningOffsets(Set.of(zero)).get(zero)
                + " " + consumer.endOffsets(Set.of(zero)).get(zero));
            Attempt.show("of a time", () -> consumer.offsetsForTimes(Map.of(zero, start + 3000)).get(zero).offset());
            Attempt.show("partitions", () -> consumer.partitionsFor(topic).size());
            Attempt.fails("partitions of nothing", () -> consumer.partitionsFor(prefix + "no/thing"));
            Attempt.show("topics", () ->
                consumer.listTopics().keySet().stream().filter(name -> name.startsWith(prefix)).count());
            Attempt.act("commit", () ->
                consumer.commitSync(Map.of(zero, new OffsetAndMetadata(4, Optional.of(0), "four"))));
            Attempt.show("committed", () -> consumer.committed(Set.of(zero)).get(zero));
            consumer.seek(zero, 1);
            Attempt.await("read again after seek", counting(consumer, 4));
            consumer.pause(consumer.assignment());
            consumer.seekToBeginning(consumer.assignment());
            Attempt.show("paused", () -> consumer.poll(Duration.ofMillis(300)).count());
            consumer.resume(consumer.assignment());
            Attempt.await("resumed", counting(consumer, 10));
            Attempt.act("commit of all", consumer::commitSync);
            consumer.unsubscribe();
            Attempt.show("unsubscribed", () -> consumer.assignment().size());
        }
        try (Consumer<String, String> consumer = consumer("g", protocol, Map.of())) {
            consumer.subscribe(List.of(topic));
            Attempt.await("assigned", assigned(consumer, 2));
            Attempt.show("resumes at", () -> consumer.position(new TopicPartition(topic, 1)));
        }
    }

    private void share(String protocol) throws Exception {
        try (Consumer<String, String> first = consumer("s", protocol, Map.of("heartbeat.interval.ms", 300))) {
            first.subscribe(List.of(topic));
            Attempt.await("alone", assigned(first, 2));
            try (Consumer<String, String> second = consumer("s", protocol, Map.of("heartbeat.interval.ms", 300))) {
                second.subscribe(List.of(topic));
                Attempt.await("shared", () -> {
                    first.poll(Duration.ofMillis(50));
                    second.poll(Duration.ofMillis(50));
                    return first.assignment().size() == 1 && second.assignment().size() == 1;
                });
                Attempt.fails("commit for another's partition", () -> second.commitSync(
                    Map.of(first.assignment().iterator().next(), new OffsetAndMetadata(1))));
            }
            Attempt.await("alone again", assigned(first, 2));
            try (Consumer<String, String> stranger = consumer("s", protocol, Map.of())) {
                stranger.assign(List.of(new TopicPartition(topic, 0)));
                Attempt.fails("commit of a stranger", () -> stranger.commitSync(
                    Map.of(new TopicPartition(topic, 0), new OffsetAndMetadata(1))));
            }
        }
    }

    private void staticMembers(String protocol) throws Exception {
        Map<String, Object> settings = Map.of("group.instance.id", "one");
        Consumer<String, String> first = consumer("i", protocol, settings);
        first.subscribe(List.of(topic));
        Attempt.await("a static member", assigned(first, 2));
        first.close();
        try (Consumer<String, String> again = consumer("i", protocol, settings)) {
            again.subscribe(List.of(topic));
            Attempt.await("is back", assigned(again, 2));
            try (Consumer<String, String> twin = consumer("i", protocol, settings)) {
                twin.subscribe(List.of(topic));
                Attempt.fails("its twin or itself", () -> {
                    for (int n = 0; n < 300; n++) {
                        twin.poll(Duration.ofMillis(20));
                        again.poll(Duration.ofMillis(20));
                    }
                });
            }
        }
    }

    private void patterns(String protocol) throws Exception {
        try (Consumer<String, String> consumer = consumer("p", protocol, Map.of("metadata.max.age.ms", 500))) {
            consumer.subscribe(Pattern.compile(Pattern.quote(prefix) + "(one|two)"));
            Attempt.await("a pattern of Java", assigned(consumer, 3));
        }
        try (Consumer<String, String> consumer = consumer("r", protocol, Map.of())) {
            Attempt.fails("a pattern of RE2", () -> {
                consumer.subscribe(new SubscriptionPattern("^" + prefix + "(one|two)$"));
                Attempt.await("is assigned", assigned(consumer, 3));
            });
        }
        try (Consumer<String, String> consumer = consumer("q", protocol, Map.of())) {
            Attempt.fails("a pattern that is none", () -> {
                consumer.subscribe(new SubscriptionPattern("one(("));
                for (int n = 0; n < 100; n++) consumer.poll(Duration.ofMillis(50));
            });
        }
    }

    private void assign(String protocol) {
        TopicPartition zero = new TopicPartition(topic, 0);
        try (Consumer<String, String> consumer = consumer("a", protocol, Map.of("auto.offset.reset", "none"))) {
            consumer.assign(List.of(zero));
            Attempt.fails("no offset and no reset", () -> consumer.poll(Duration.ofSeconds(5)));
            consumer.seek(zero, 99);
            Attempt.fails("an offset out of range", () -> {
                for (int n = 0; n < 100; n++) consumer.poll(Duration.ofMillis(50));
            });
            Attempt.act("commit without members", () ->
                consumer.commitSync(Map.of(zero, new OffsetAndMetadata(1))));
        }
        try (Consumer<String, String> consumer =
                consumer("b", protocol, Map.of("auto.offset.reset", "by_duration:P1D"))) {
            consumer.assign(List.of(zero));
            Attempt.show("reset by duration", () -> consumer.position(zero));
        }
    }

    /** A group of the classic protocol takes members of the new one, and back (KIP-848). */
    private void migrate() throws Exception {
        try (Consumer<String, String> old = consumer("m", "classic", Map.of("heartbeat.interval.ms", 300))) {
            old.subscribe(List.of(topic));
            Attempt.await("classic alone", assigned(old, 2));
            Attempt.act("commit", () -> old.commitSync(Map.of(new TopicPartition(topic, 0), new OffsetAndMetadata(2))));
            try (Consumer<String, String> young = consumer("m", "consumer", Map.of())) {
                young.subscribe(List.of(topic));
                Attempt.await("both", () -> {
                    old.poll(Duration.ofMillis(50));
                    young.poll(Duration.ofMillis(50));
                    return old.assignment().size() == 1 && young.assignment().size() == 1;
                });
                Attempt.show("commits are shared", () -> young.committed(Set.of(new TopicPartition(topic, 0)))
                    .get(new TopicPartition(topic, 0)).offset());
            }
            Attempt.await("classic alone again", assigned(old, 2));
        }
    }

    private Consumer<String, String> consumer(String group, String protocol, Map<String, Object> more) {
        Map<String, Object> settings = new HashMap<>();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("group.id", prefix + group + "-" + (group.equals("m") ? "both" : protocol));
        settings.put("group.protocol", protocol);
        settings.put("enable.auto.commit", false);
        settings.put("auto.offset.reset", "earliest");
        settings.putAll(more);
        if (protocol.equals("consumer")) settings.remove("heartbeat.interval.ms"); // the group's, not the client's
        return new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
    }

    private static Supplier<Boolean> assigned(Consumer<String, String> consumer, int count) {
        return () -> {
            consumer.poll(Duration.ofMillis(50));
            return consumer.assignment().size() == count;
        };
    }

    private static Supplier<Boolean> counting(Consumer<String, String> consumer, int count) {
        List<String> read = new ArrayList<>();
        return () -> {
            consumer.poll(Duration.ofMillis(50)).forEach(record -> read.add(record.value()));
            return read.size() == count;
        };
    }
}
