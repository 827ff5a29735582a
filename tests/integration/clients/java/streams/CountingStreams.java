import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.state.Stores;

/**
 * A Kafka Streams application, exactly once: counts the records of a topic by their values, and by value and
 * hour. Every record changes both counts, and every change is written: each output has 1, 2, 3, … for each key, if
 * and only if no record was lost or counted twice. The way goes through a repartition topic and two changelogs.
 *
 * <p>Arguments: HOST:PORT, application id, state directory, input topic, topic of counts, topic of counts by hour, session
 * timeout in milliseconds; and, for a static member, the id of its instance.
 */
public final class CountingStreams {
    private static final Duration HOUR = Duration.ofHours(1);

    public static void main(String[] args) {
        StreamsBuilder builder = new StreamsBuilder();
        KGroupedStream<String, String> values = builder.<String, String>stream(args[3])
            .groupBy((key, value) -> value, Grouped.as("by-value"));
        values.count(Materialized.as(Stores.inMemoryKeyValueStore("counts")))
            .toStream().mapValues(count -> Long.toString(count)).to(args[4]);
        values.windowedBy(TimeWindows.ofSizeAndGrace(HOUR, HOUR))
            .count(Materialized.as(Stores.inMemoryWindowStore("hourly", HOUR.multipliedBy(1000), HOUR, false)))
            .toStream((window, count) -> window.key() + "@" + window.window().start())
            .mapValues(count -> Long.toString(count))
            .to(args[5], Produced.with(Serdes.String(), Serdes.String()));

        KafkaStreams streams = new KafkaStreams(builder.build(), settings(args));
        streams.setUncaughtExceptionHandler(problem -> {
            problem.printStackTrace();
            return StreamThreadExceptionResponse.REPLACE_THREAD;
        });
        streams.setStateListener((now, before) -> System.out.println(now));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(20))));
        streams.start();
    }

    private static Properties settings(String[] args) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, args[1]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, args[2]);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        settings.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0); // every change is written
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
        settings.put(StreamsConfig.REPARTITION_PURGE_INTERVAL_MS_CONFIG, 500);
        settings.put(StreamsConfig.consumerPrefix("session.timeout.ms"), args[6]);
        if (args.length > 7) settings.put(StreamsConfig.consumerPrefix("group.instance.id"), args[7]);
        settings.put(StreamsConfig.consumerPrefix("heartbeat.interval.ms"), 500);
        settings.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        settings.put(StreamsConfig.producerPrefix("transaction.timeout.ms"), 10000);
        // Small segments, so that changelogs are compacted while the application runs.
        settings.put(StreamsConfig.topicPrefix("segment.ms"), 2000);
        settings.put(StreamsConfig.topicPrefix("min.cleanable.dirty.ratio"), "0.01");
        return settings;
    }
}
