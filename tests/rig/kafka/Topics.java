import java.io.BufferedOutputStream;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Reads topics with Kafka's own client as a reader of committed records, each time from where it stopped before.
 *
 *   java -cp 'JARS/*' Topics.java SERVERS TOPIC...
 *
 * Each line that it gets is answered with a line for each new record, the fields of which have tabs between, and a line
 * ".":
 *
 *   topic partition position event-id       (position: the header "seq", or "dead_seq" where there is one)
 */
public class Topics {
    public static void main(String[] args) throws Exception {
        var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        var out = new PrintStream(new BufferedOutputStream(System.out), false, StandardCharsets.UTF_8);
        // An offset that is gone is an error, and nothing to step over.
        Map<String, Object> settings = Map.of(
                "bootstrap.servers", args[0],
                "isolation.level", "read_committed",
                "auto.offset.reset", "none",
                "enable.auto.commit", "false");
        var bytes = new ByteArrayDeserializer();
        try (var consumer = new KafkaConsumer<>(settings, bytes, bytes)) {
            var partitions = new ArrayList<TopicPartition>();
            for (String topic : List.of(args).subList(1, args.length)) {
                for (PartitionInfo info : consumer.partitionsFor(topic)) {
                    partitions.add(new TopicPartition(topic, info.partition()));
                }
            }
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            while (in.readLine() != null) {
                var ends = consumer.endOffsets(partitions);
                while (partitions.stream().anyMatch(place -> consumer.position(place) < ends.get(place))) {
                    consumer.poll(Duration.ofMillis(200)).forEach(record -> out.println(line(record)));
                }
                out.println(".");
                out.flush();
            }
        }
    }

    private static String line(ConsumerRecord<byte[], byte[]> record) {
        var dead = header(record, "dead_seq");
        return record.topic() + '\t' + record.partition() + '\t' + (dead.isEmpty() ? header(record, "seq") : dead)
                + '\t' + header(record, "event_id");
    }

    private static String header(ConsumerRecord<byte[], byte[]> record, String name) {
        var header = record.headers().lastHeader(name);
        return header == null ? "" : new String(header.value(), StandardCharsets.UTF_8);
    }
}
