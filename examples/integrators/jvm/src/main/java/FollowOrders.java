import com.fasterxml.jackson.databind.ObjectMapper;
import io.cloudevents.CloudEvent;
import io.cloudevents.kafka.CloudEventDeserializer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * Follows orders, and keeps a ledger of them. The work comes first, then the commit of its offsets: whoever is killed between the two reads
 * again, and the ledger does nothing twice.
 *
 * <p>It begins where the topic does. What the topic no longer has stands in the history: python/follow_orders.py begins there.
 */
public final class FollowOrders {
    private static final String USAGE = "FollowOrders BROKERS GROUP LEDGER [--prefix PREFIX] [--once]";

    public static void main(String[] given) throws Exception {
        var arguments = Arguments.of(given, 3, USAGE);
        try (var ledger = new Ledger(arguments.word(2)); var consumer = consumer(arguments.word(0), arguments.word(1))) {
            consumer.subscribe(List.of(arguments.prefix() + "reservation.order.v1"));
            do {
                var records = consumer.poll(Duration.ofSeconds(1));
                var events = new ArrayList<CloudEvent>();
                records.forEach(record -> events.add(record.value()));
                ledger.take(events);
                // Here is the gap between work and commit.
                consumer.commitSync();
            } while (!(arguments.once() && isLevel(consumer)));
            System.out.println(new ObjectMapper().writeValueAsString(ledger.standing()));
        }
    }

    /** The group remembers how far the ledger is: each ledger has its own. */
    private static KafkaConsumer<String, CloudEvent> consumer(String brokers, String group) {
        Map<String, Object> settings = Map.of(
                ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, brokers,
                ConsumerConfig.GROUP_ID_CONFIG, group,
                // records of transactions that were given up are no events
                ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed",
                // committed after the work, not by a clock
                ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, false,
                ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest",
                // one that was killed is missed after so long; until then nobody else has its partitions
                ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG, 10_000);
        return new KafkaConsumer<>(settings, new StringDeserializer(), new CloudEventDeserializer());
    }

    /** Whether everything that its partitions have has been read. */
    private static boolean isLevel(KafkaConsumer<?, ?> consumer) {
        var partitions = consumer.assignment();
        return !partitions.isEmpty() && partitions.stream().allMatch(partition -> consumer.currentLag(partition).orElse(1) == 0);
    }
}
