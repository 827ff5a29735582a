import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.File;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.data.SchemaAndValue;
import org.apache.kafka.connect.header.ConnectHeaders;
import org.apache.kafka.connect.header.Header;
import org.apache.kafka.connect.json.JsonConverter;
import org.apache.kafka.connect.source.SourceRecord;
import org.apache.kafka.connect.transforms.Transformation;

/** Applies transforms to records: Recorder IN.json OUT.json. A set gets `configure_error` or its cases an `out` or `error`. */
public class Recorder {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final JsonConverter CONVERTER = new JsonConverter();

    public static void main(String[] args) throws Exception {
        CONVERTER.configure(Map.of("schemas.enable", "true", "replace.null.with.default", "false"), false);
        JsonNode sets = JSON.readTree(new File(args[0]));
        for (JsonNode set : sets) {
            record((ObjectNode) set);
        }
        JSON.writeValue(new File(args[1]), sets);
        System.exit(0);
    }

    private static void record(ObjectNode set) throws Exception {
        Transformation<SourceRecord> transform = null;
        for (JsonNode one : set.get("cases")) {
            // A new one for each case: what it has kept of the record before must not matter.
            transform = made(set);
            try {
                transform.configure(configOf(set));
            } catch (Throwable error) {
                set.set("configure_error", told(error));
                set.remove("cases");
                return;
            }
            try {
                SourceRecord out = transform.apply(recordOf(one.get("in")));
                ((ObjectNode) one).set("out", out == null ? JSON.nullNode() : told(out));
            } catch (Throwable error) {
                ((ObjectNode) one).set("error", told(error));
            }
        }
    }

    @SuppressWarnings("unchecked")
    private static Transformation<SourceRecord> made(JsonNode set) throws Exception {
        return (Transformation<SourceRecord>) Class.forName(set.get("class").asText()).getConstructor().newInstance();
    }

    private static Map<String, Object> configOf(JsonNode set) {
        Map<String, Object> config = new HashMap<>();
        set.get("config").fields().forEachRemaining(entry -> config.put(entry.getKey(), entry.getValue().asText()));
        return config;
    }

    private static SourceRecord recordOf(JsonNode in) throws Exception {
        SchemaAndValue key = valueOf(in.get("key"));
        SchemaAndValue value = valueOf(in.get("value"));
        ConnectHeaders headers = new ConnectHeaders();
        for (JsonNode header : in.get("headers")) {
            SchemaAndValue content = valueOf(header.get("value"));
            headers.add(header.get("name").asText(), content.value(), content.schema());
        }
        Long timestamp = in.get("timestamp").isNull() ? null : in.get("timestamp").asLong();
        return new SourceRecord(Map.of(), Map.of(), in.get("topic").asText(), null, key.schema(), key.value(),
                value.schema(), value.value(), timestamp, headers);
    }

    /** null: no schema and null; schema null: schemaless. */
    private static SchemaAndValue valueOf(JsonNode envelope) throws Exception {
        if (envelope == null || envelope.isNull()) {
            return SchemaAndValue.NULL;
        }
        return CONVERTER.toConnectData("t", JSON.writeValueAsBytes(envelope));
    }

    private static ObjectNode told(SourceRecord record) throws Exception {
        ObjectNode out = JSON.createObjectNode();
        out.put("topic", record.topic());
        out.put("partition", record.kafkaPartition());
        out.put("timestamp", record.timestamp());
        out.set("key", told(record.keySchema(), record.key()));
        out.set("value", told(record.valueSchema(), record.value()));
        ArrayNode headers = out.putArray("headers");
        for (Header header : record.headers()) {
            headers.addObject().put("name", header.key()).set("value", told(header.schema(), header.value()));
        }
        return out;
    }

    private static JsonNode told(Schema schema, Object value) throws Exception {
        if (schema == null && value == null) {
            return JSON.nullNode();
        }
        try {
            byte[] written = CONVERTER.fromConnectData("t", schema, value);
            return JSON.readTree(new String(written, StandardCharsets.UTF_8));
        } catch (Exception refused) {
            ObjectNode out = JSON.createObjectNode();
            out.set("schema", CONVERTER.asJsonSchema(schema));
            out.put("payload", String.valueOf(value));
            return out.put("not_json_convertible", refused.getMessage());
        }
    }

    private static ObjectNode told(Throwable error) {
        ObjectNode out = JSON.createObjectNode();
        out.put("class", error.getClass().getName());
        out.put("message", String.valueOf(error.getMessage()));
        return out;
    }
}
