import java.util.Map;
import java.util.concurrent.CountDownLatch;
import net.sourceforge.argparse4j.ArgumentParsers;
import net.sourceforge.argparse4j.inf.ArgumentParser;
import net.sourceforge.argparse4j.inf.Namespace;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.common.utils.Exit;

/** Begins a transaction, writes some records and keeps it open until it is stopped; then ends it as it was told. */
public final class OpenTransaction {
    public static void main(String[] args) throws Exception {
        ArgumentParser parser = ArgumentParsers.newArgumentParser("open-transaction");
        parser.addArgument("--bootstrap-server").required(true);
        parser.addArgument("--topic").required(true);
        parser.addArgument("--transactional-id").required(true);
        parser.addArgument("--records").type(Integer.class).setDefault(3);
        parser.addArgument("--timeout-ms").type(Integer.class).setDefault(60000);
        parser.addArgument("--then").choices("commit", "abort").setDefault("commit");
        Namespace options = parser.parseArgsOrFail(args);
        Map<String, Object> settings = Map.of(
            "bootstrap.servers", options.getString("bootstrap_server"),
            "transactional.id", options.getString("transactional_id"),
            "transaction.timeout.ms", options.getInt("timeout_ms"));
        CountDownLatch stopped = new CountDownLatch(1);
        Exit.addShutdownHook("stop", stopped::countDown);
        try (Producer<String, String> producer =
                new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            producer.initTransactions();
            producer.beginTransaction();
            for (int n = 0; n < options.getInt("records"); n++) {
                producer.send(new ProducerRecord<>(options.getString("topic"), 0, null, "open " + n));
            }
            producer.flush();
            stopped.await();
            try {
                if (options.getString("then").equals("commit")) producer.commitTransaction();
                else producer.abortTransaction();
            } catch (KafkaException refused) {
                System.out.println(refused.getClass().getSimpleName());
            }
        }
    }
}
