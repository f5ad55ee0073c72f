import java.io.BufferedOutputStream;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Reads topics from beginning to end with Kafka's own client, for tests.
 *
 * Takes lines "ISOLATION TOPIC..." and answers each with lines, the fields of which have tabs between, up to a line ".":
 *
 *   end     topic partition offset
 *   record  topic partition offset javas-partition key value name=value...     (key, values in hex; "-" for none)
 */
public class Reader {
    public static void main(String[] args) throws Exception {
        var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        var out = new PrintStream(new BufferedOutputStream(System.out), false, StandardCharsets.UTF_8);
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            var words = Arrays.asList(line.split(" "));
            read(args[0], words.get(0), words.subList(1, words.size()), out);
            out.println(".");
            out.flush();
        }
    }

    private static void read(String servers, String isolation, List<String> topics, PrintStream out) {
        Map<String, Object> settings = Map.of(
                "bootstrap.servers", servers,
                "isolation.level", isolation,
                "enable.auto.commit", "false");
        var bytes = new ByteArrayDeserializer();
        try (var consumer = new KafkaConsumer<>(settings, bytes, bytes)) {
            var partitions = new ArrayList<TopicPartition>();
            for (String topic : topics) {
                for (PartitionInfo info : consumer.partitionsFor(topic)) {
                    partitions.add(new TopicPartition(topic, info.partition()));
                }
            }
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            var ends = consumer.endOffsets(partitions);
            ends.forEach((place, end) -> out.println("end\t" + place.topic() + "\t" + place.partition() + "\t" + end));
            while (partitions.stream().anyMatch(place -> consumer.position(place) < ends.get(place))) {
                for (var record : consumer.poll(Duration.ofMillis(200))) {
                    long count = partitions.stream().filter(place -> place.topic().equals(record.topic())).count();
                    int javas = record.key() == null ? -1
                            : BuiltInPartitioner.partitionForKey(record.key(), (int) count);
                    var line = new StringBuilder("record\t").append(record.topic())
                            .append('\t').append(record.partition())
                            .append('\t').append(record.offset())
                            .append('\t').append(javas)
                            .append('\t').append(hex(record.key()))
                            .append('\t').append(hex(record.value()));
                    for (var header : record.headers()) {
                        line.append('\t').append(header.key()).append('=').append(hex(header.value()));
                    }
                    out.println(line);
                }
            }
        }
    }

    private static String hex(byte[] bytes) {
        return bytes == null ? "-" : HexFormat.of().formatHex(bytes);
    }
}
