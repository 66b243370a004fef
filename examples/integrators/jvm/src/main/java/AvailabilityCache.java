import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.cloudevents.CloudEvent;
import io.cloudevents.kafka.CloudEventDeserializer;
import java.io.IOException;
import java.time.Duration;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * Keeps in memory what can be booked. The topic is compacted: read from its beginning it has the latest of each slot, so nothing need be
 * stored, and every process reads all of it, without a group.
 */
public final class AvailabilityCache {
    private static final String USAGE = "AvailabilityCache BROKERS [--prefix PREFIX] [--once]";
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final DateTimeFormatter START = DateTimeFormatter.ofPattern("yyyyMMdd'T'HHmmss'Z'").withZone(ZoneOffset.UTC);

    /** What a record says. Properties may be added to it. */
    @JsonIgnoreProperties(ignoreUnknown = true)
    record Slot(String slotId, Counts counts, String saleState, long position) {
        @JsonIgnoreProperties(ignoreUnknown = true)
        record Counts(int capacity, int held, int confirmed, int available) { }

        /** How many may be held at this time, as far as is known here; the answer that counts is that of PlaceOrder. */
        int bookable(Instant now) {
            var start = slotId.substring(slotId.indexOf('@') + 1);
            var started = !start.equals("stock") && !START.parse(start, Instant::from).isAfter(now);
            return saleState.equals("SLOT_STATE_OPEN") && !started ? counts.available() : 0;
        }

        Map<String, Object> told(Instant now) {
            var told = new LinkedHashMap<String, Object>();
            told.put("slotId", slotId);
            told.put("bookable", bookable(now));
            told.put("counts", counts);
            told.put("saleState", saleState);
            // a query with this as its min_position has seen what the cache has
            told.put("position", position);
            return told;
        }
    }

    private final Map<String, Slot> slots = new TreeMap<>();

    /** Each record takes the place of the one before it with its key. Other types may be added to the topic some day. */
    Optional<Slot> take(CloudEvent event) throws IOException {
        if (!event.getType().equals("reservation.availability.v1.AvailabilityChanged")) {
            return Optional.empty();
        }
        var slot = JSON.readValue(event.getData().toBytes(), Slot.class);
        slots.put(slot.slotId(), slot);
        return Optional.of(slot);
    }

    public static void main(String[] given) throws IOException {
        var arguments = Arguments.of(given, 1, USAGE);
        var cache = new AvailabilityCache();
        Map<String, Object> settings = Map.of(
                ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, arguments.word(0),
                ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed",
                ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, false);
        try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new CloudEventDeserializer())) {
            var topic = arguments.prefix() + "reservation.availability.v1";
            var partitions = consumer.partitionsFor(topic).stream().map(partition -> new TopicPartition(topic, partition.partition())).toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            // Before this end is reached the cache is not whole.
            var end = consumer.endOffsets(partitions);
            while (!partitions.stream().allMatch(partition -> consumer.position(partition) >= end.get(partition))) {
                for (var record : consumer.poll(Duration.ofSeconds(1))) {
                    cache.take(record.value());
                }
            }
            for (var slot : cache.slots.values()) {
                tell(slot);
            }
            while (!arguments.once()) {
                for (var record : consumer.poll(Duration.ofSeconds(1))) {
                    var changed = cache.take(record.value());
                    if (changed.isPresent()) {
                        tell(changed.get());
                    }
                }
            }
        }
    }

    private static void tell(Slot slot) throws IOException {
        System.out.println(JSON.writeValueAsString(slot.told(Instant.now())));
    }
}
