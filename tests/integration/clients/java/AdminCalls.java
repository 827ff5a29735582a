import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.AlterConfigsOptions;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.CreatePartitionsOptions;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.CreateTopicsResult;
import org.apache.kafka.clients.admin.DescribeConfigsOptions;
import org.apache.kafka.clients.admin.ListConsumerGroupOffsetsSpec;
import org.apache.kafka.clients.admin.ListGroupsOptions;
import org.apache.kafka.clients.admin.MemberToRemove;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.GroupType;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** What Admin answers in good and in bad cases. Arguments: --bootstrap-server X PREFIX. */
public final class AdminCalls {
    private final String bootstrap;
    private final Admin admin;
    private final String topic;
    private final String other;
    private final String group;
    private final String nowhere;

    private AdminCalls(String bootstrap, String prefix) {
        this.bootstrap = bootstrap;
        this.admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
        this.topic = prefix + "topic";
        this.other = prefix + "other";
        this.group = prefix + "group";
        this.nowhere = prefix + "nowhere";
    }

    public static void main(String[] args) throws Exception {
        AdminCalls calls = new AdminCalls(args[1], args[2]);
        calls.cluster();
        calls.createTopics();
        calls.partitions();
        calls.configs();
        calls.records();
        calls.groups();
        calls.members();
        calls.deleteTopics();
        calls.admin.close();
    }

    private void cluster() {
        Attempt.show("nodes", () -> admin.describeCluster().nodes().get().size());
        Attempt.show("controller", () -> admin.describeCluster().controller().get().id());
        Attempt.show("finalized features", () -> admin.describeFeatures().featureMetadata().get().finalizedFeatures()
            .entrySet().stream().filter(each -> Set.of("transaction.version", "group.version").contains(each.getKey()))
            .map(each -> each.getKey() + "=" + each.getValue().maxVersionLevel()).sorted().toList());
    }

    private void createTopics() {
        NewTopic wanted = new NewTopic(topic, Optional.of(2), Optional.empty()).configs(Map.of("retention.ms", "1000"));
        Attempt.show("create, validate only", () -> {
            CreateTopicsResult made = admin.createTopics(List.of(wanted), new CreateTopicsOptions().validateOnly(true));
            return made.numPartitions(topic).get() + " " + made.replicationFactor(topic).get();
        });
        Attempt.show("nothing was created", () -> admin.listTopics().names().get().contains(topic));
        Attempt.show("create", () -> {
            CreateTopicsResult made = admin.createTopics(List.of(wanted));
            ConfigEntry retention = made.config(topic).get().get("retention.ms");
            return made.numPartitions(topic).get() + " " + made.replicationFactor(topic).get() + " "
                + retention.value() + " " + retention.source() + " " + !made.topicId(topic).get().equals(Uuid.ZERO_UUID);
        });
        Attempt.show("create again", () -> admin.createTopics(List.of(wanted)).all().get());
        Attempt.show("a good one and a bad one", () -> {
            CreateTopicsResult made = admin.createTopics(List.of(
                new NewTopic(other, 1, (short) 1), new NewTopic(topic + "/bad", 1, (short) 1)));
            return made.values().get(other).get() + " " + made.values().get(topic + "/bad").get();
        });
        Attempt.show("describe by id", () -> {
            Uuid id = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).topicId();
            return admin.describeTopics(TopicCollection.ofTopicIds(List.of(id))).allTopicIds().get().get(id).name();
        });
        Attempt.fails("describe by an unknown id", () ->
            admin.describeTopics(TopicCollection.ofTopicIds(List.of(Uuid.randomUuid()))).allTopicIds().get());
        Attempt.show("describe an unknown one", () ->
            admin.describeTopics(List.of(nowhere)).allTopicNames().get());
    }

    private void partitions() {
        CreatePartitionsOptions validate = new CreatePartitionsOptions().validateOnly(true);
        Attempt.act("more partitions, validate only", () ->
            admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3)), validate).all().get());
        Attempt.show("partitions", this::countPartitions);
        Attempt.act("more partitions", () ->
            admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all().get());
        Attempt.show("partitions", this::countPartitions);
        Attempt.act("fewer partitions", () ->
            admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(1))).all().get());
        Attempt.act("more partitions of nothing", () ->
            admin.createPartitions(Map.of(nowhere, NewPartitions.increaseTo(1))).all().get());
    }

    private int countPartitions() throws Exception {
        return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size();
    }

    private void configs() {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        alter("append", resource, AlterConfigOp.OpType.APPEND, "cleanup.policy", "compact", false);
        alter("append again", resource, AlterConfigOp.OpType.APPEND, "cleanup.policy", "compact", false);
        alter("subtract", resource, AlterConfigOp.OpType.SUBTRACT, "cleanup.policy", "delete", false);
        alter("append to what is no list", resource, AlterConfigOp.OpType.APPEND, "retention.ms", "1", false);
        alter("validate only", resource, AlterConfigOp.OpType.SET, "retention.ms", "77", true);
        alter("a bad value, validate only", resource, AlterConfigOp.OpType.SET, "retention.ms", "x", true);
        alter("an unknown name", resource, AlterConfigOp.OpType.SET, "retention.milli", "1", false);
        alter("an unknown topic", new ConfigResource(ConfigResource.Type.TOPIC, nowhere),
            AlterConfigOp.OpType.SET, "retention.ms", "1", false);
        Attempt.show("a name twice", () -> admin.incrementalAlterConfigs(Map.of(resource, List.of(
            new AlterConfigOp(new ConfigEntry("retention.ms", "1"), AlterConfigOp.OpType.SET),
            new AlterConfigOp(new ConfigEntry("retention.ms", "2"), AlterConfigOp.OpType.SET)))).all().get());
        Attempt.show("configs of the topic", () -> admin.describeConfigs(List.of(resource)).all().get().get(resource)
            .entries().stream().filter(each -> each.source() == ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG)
            .map(each -> each.name() + "=" + each.value() + ":" + each.type()).sorted().toList());
        Attempt.show("with synonyms and documentation", () -> {
            ConfigEntry entry = admin.describeConfigs(List.of(resource),
                new DescribeConfigsOptions().includeSynonyms(true).includeDocumentation(true))
                .all().get().get(resource).get("max.message.bytes");
            return entry.value() + " " + entry.source() + " " + entry.synonyms().size() + " " + entry.type() + " "
                + entry.isReadOnly() + entry.isSensitive() + " " + !entry.documentation().isEmpty();
        });
        Attempt.fails("configs of an unknown topic", () -> admin.describeConfigs(
            List.of(new ConfigResource(ConfigResource.Type.TOPIC, nowhere))).all().get());
    }

    private void alter(String what, ConfigResource resource, AlterConfigOp.OpType type, String name, String value,
            boolean validateOnly) {
        Attempt.act(what, () -> admin.incrementalAlterConfigs(
            Map.of(resource, List.of(new AlterConfigOp(new ConfigEntry(name, value), type))),
            new AlterConfigsOptions().validateOnly(validateOnly)).all().get());
    }

    private void records() throws Exception {
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap);
        try (Producer<String, String> producer =
                new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            for (long time : List.of(1_000_000L, 3_000_000L, 2_000_000L)) {
                producer.send(new ProducerRecord<>(other, 0, time, "key", "at " + time)).get();
            }
        }
        TopicPartition first = new TopicPartition(other, 0);
        offset("earliest", first, OffsetSpec.earliest());
        offset("latest", first, OffsetSpec.latest());
        offset("max timestamp", first, OffsetSpec.maxTimestamp());
        offset("of a time", first, OffsetSpec.forTimestamp(1_500_000));
        offset("of a late time", first, OffsetSpec.forTimestamp(9_000_000));
        offset("earliest local", first, OffsetSpec.earliestLocal());
        offset("latest tiered", first, OffsetSpec.latestTiered());
        offset("latest of nothing", new TopicPartition(topic, 1), OffsetSpec.latest());
        Attempt.show("delete records", () -> admin.deleteRecords(Map.of(first, RecordsToDelete.beforeOffset(2)))
            .lowWatermarks().get(first).get().lowWatermark());
        offset("earliest", first, OffsetSpec.earliest());
        Attempt.fails("delete records of a compacted topic", () ->
            admin.deleteRecords(Map.of(new TopicPartition(topic, 0), RecordsToDelete.beforeOffset(1))).all().get());
        Attempt.fails("delete more records than there are", () ->
            admin.deleteRecords(Map.of(first, RecordsToDelete.beforeOffset(9))).all().get());
    }

    private void offset(String what, TopicPartition partition, OffsetSpec spec) {
        Attempt.show(what, () -> {
            var found = admin.listOffsets(Map.of(partition, spec)).partitionResult(partition).get();
            return found.offset() + " at " + found.timestamp() + ", epoch " + found.leaderEpoch();
        });
    }

    private void groups() {
        TopicPartition first = new TopicPartition(topic, 0);
        Attempt.show("offsets of an unknown group", () ->
            admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get());
        Attempt.act("alter offsets", () -> admin.alterConsumerGroupOffsets(group, Map.of(
            first, new OffsetAndMetadata(3, Optional.of(0), "by hand"))).all().get());
        Attempt.show("offsets", () -> admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get()
            .values());
        Attempt.show("offsets of two groups", () -> new TreeMap<>(admin.listConsumerGroupOffsets(Map.of(
            group, new ListConsumerGroupOffsetsSpec().topicPartitions(List.of(first, new TopicPartition(topic, 1))),
            group + "-2", new ListConsumerGroupOffsetsSpec())).all().get())
            .values().stream().map(offsets -> offsets.entrySet().stream()
                .map(each -> each.getKey().partition() + ":" + each.getValue()).sorted().toList()).toList());
        Attempt.fails("alter offsets of an unknown topic", () -> admin.alterConsumerGroupOffsets(group, Map.of(
            new TopicPartition(nowhere, 0), new OffsetAndMetadata(3))).all().get());
        Attempt.act("delete offsets", () ->
            admin.deleteConsumerGroupOffsets(group, Set.of(first)).all().get());
        Attempt.show("offsets", () -> admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get());
        Attempt.fails("delete offsets of an unknown group", () ->
            admin.deleteConsumerGroupOffsets(group + "-2", Set.of(first)).all().get());
        Attempt.fails("describe an unknown group", () ->
            admin.describeConsumerGroups(List.of(group + "-2")).all().get());
        Attempt.fails("describe an unknown classic group", () ->
            admin.describeClassicGroups(List.of(group + "-2")).all().get());
        Attempt.fails("delete an unknown group", () -> admin.deleteConsumerGroups(List.of(group + "-2")).all().get());
        Attempt.fails("remove an unknown member", () -> admin.removeMembersFromConsumerGroup(group,
            new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("nobody")))).all().get());
    }

    private void members() throws Exception {
        for (String protocol : List.of("classic", "consumer")) {
            String name = group + "-" + protocol;
            Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "group.id", name,
                "group.protocol", protocol, "group.instance.id", "one", "client.id", "me");
            try (Consumer<String, String> consumer =
                    new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
                consumer.subscribe(List.of(topic));
                Attempt.await(protocol + ": assigned", () -> {
                    consumer.poll(Duration.ofMillis(50));
                    return consumer.assignment().size() == 3;
                });
                Attempt.show("description", () -> {
                    var group = admin.describeConsumerGroups(List.of(name)).all().get().get(name);
                    var member = group.members().iterator().next();
                    return group.type() + " " + group.groupState() + " " + group.partitionAssignor() + " "
                        + member.groupInstanceId() + " " + member.clientId() + " " + member.host() + " "
                        + member.assignment().topicPartitions().size() + " " + member.upgraded();
                });
                Attempt.show("list stable ones of this type", () -> mine(admin.listGroups(new ListGroupsOptions()
                    .withTypes(Set.of(GroupType.parse(protocol))).inGroupStates(Set.of(GroupState.STABLE))).all().get()
                    .stream().map(each -> each.groupId()).toList()));
                Attempt.fails("alter offsets", () -> admin.alterConsumerGroupOffsets(name, Map.of(
                    new TopicPartition(topic, 0), new OffsetAndMetadata(0))).all().get());
                Attempt.fails("delete the group", () -> admin.deleteConsumerGroups(List.of(name)).all().get());
            }
            // A static member stays when it is closed.
            Attempt.show("members after close", () ->
                admin.describeConsumerGroups(List.of(name)).all().get().get(name).members().size());
            Attempt.act("remove the member", () -> admin.removeMembersFromConsumerGroup(name,
                new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("one")))).all().get());
            Attempt.show("members", () ->
                admin.describeConsumerGroups(List.of(name)).all().get().get(name).members().size());
            Attempt.act("delete the group", () -> admin.deleteConsumerGroups(List.of(name)).all().get());
        }
    }

    private List<String> mine(Collection<String> names) {
        List<String> found = new ArrayList<>(names);
        found.removeIf(each -> !each.startsWith(group));
        return found.stream().sorted().collect(Collectors.toList());
    }

    private void deleteTopics() {
        Attempt.show("delete by id", () -> {
            Uuid id = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).topicId();
            return admin.deleteTopics(TopicCollection.ofTopicIds(List.of(id))).all().get();
        });
        Attempt.fails("delete by an unknown id", () ->
            admin.deleteTopics(TopicCollection.ofTopicIds(List.of(Uuid.randomUuid()))).all().get());
        Attempt.act("delete by name", () -> admin.deleteTopics(List.of(other)).all().get());
        Attempt.act("delete again", () -> admin.deleteTopics(List.of(other)).all().get());
    }
}
