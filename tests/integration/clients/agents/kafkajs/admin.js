// Operations of administration.
"use strict";

const { AssignerProtocol, ConfigResourceTypes } = require("kafkajs");

const TOPIC_ALREADY_EXISTS = 36;

module.exports = ({ admin, KafkaError }) => ({
  async create_topic({ topic, partitions, replicas = 1, configs = {} }) {
    const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }));
    const wanted = { topic, numPartitions: partitions, replicationFactor: replicas, configEntries };
    const isNew = await admin().createTopics({ topics: [wanted], waitForLeaders: false });
    if (!isNew) throw new KafkaError(TOPIC_ALREADY_EXISTS, `${topic} exists`); // kafkajs says false
  },

  async delete_topic({ topic }) {
    await admin().deleteTopics({ topics: [topic] });
  },

  async create_partitions({ topic, total }) {
    await admin().createPartitions({ topicPartitions: [{ topic, count: total }] });
  },

  async list_topics() {
    return (await admin().listTopics()).sort();
  },

  async describe_topic({ topic }) {
    const { topics } = await admin().fetchTopicMetadata({ topics: [topic] });
    const leaders = topics[0].partitions.map((partition) => partition.leader);
    return { partitions: leaders.length, leaders };
  },

  async describe_configs({ resource, name }) {
    const type = ConfigResourceTypes[resource.toUpperCase()];
    const { resources } = await admin().describeConfigs({ resources: [{ type, name }], includeSynonyms: false });
    return Object.fromEntries(resources[0].configEntries.map((entry) => [entry.configName, entry.configValue]));
  },

  // AlterConfigs of old: what is not named goes back to its default.
  async alter_configs({ resource, name, changes, validate_only = false }) {
    const type = ConfigResourceTypes[resource.toUpperCase()];
    const configEntries = Object.entries(changes)
      .filter(([, value]) => value !== null)
      .map(([key, value]) => ({ name: key, value }));
    await admin().alterConfigs({ validateOnly: validate_only, resources: [{ type, name, configEntries }] });
  },

  async list_groups() {
    const { groups } = await admin().listGroups();
    return Object.fromEntries(groups.map((group) => [group.groupId, { type: group.protocolType }]));
  },

  async describe_group({ group }) {
    const { groups } = await admin().describeGroups([group]);
    const members = groups[0].members.map(({ memberAssignment }) => {
      const { assignment } = AssignerProtocol.MemberAssignment.decode(memberAssignment);
      return Object.entries(assignment).flatMap(([topic, numbers]) => numbers.sort().map((n) => [topic, n]));
    });
    return { state: groups[0].state, assignor: groups[0].protocol, members: members.sort() };
  },

  async delete_group({ group }) {
    await admin().deleteGroups([group]);
  },

  async group_offsets({ group }) {
    const topics = await admin().fetchOffsets({ groupId: group });
    return topics.flatMap(({ topic, partitions }) =>
      partitions.map(({ partition, offset, metadata }) => [topic, partition, Number(offset), metadata ?? ""]),
    );
  },

  async alter_group_offsets({ group, offsets }) {
    for (const topic of new Set(offsets.map((one) => one[0]))) {
      const partitions = offsets
        .filter((one) => one[0] === topic)
        .map(([, partition, offset]) => ({ partition, offset: String(offset) }));
      await admin().setOffsets({ groupId: group, topic, partitions });
    }
  },

  // kafkajs does not tell the low watermark, and finds a partition's leader only if it asked for it before.
  async delete_records({ topic, partition, before }) {
    await admin().fetchTopicOffsets(topic);
    await admin().deleteTopicRecords({ topic, partitions: [{ partition, offset: String(before) }] });
  },

  async list_offset({ topic, partition, at }) {
    if (at >= 0) {
      const found = await admin().fetchTopicOffsetsByTimestamp(topic, at);
      return Number(found.find((one) => one.partition === partition).offset);
    }
    const found = (await admin().fetchTopicOffsets(topic)).find((one) => one.partition === partition);
    return Number(at === -2 ? found.low : found.high);
  },

  async describe_cluster() {
    const { brokers, clusterId } = await admin().describeCluster();
    return { nodes: brokers.map((broker) => broker.nodeId), cluster_id: clusterId };
  },
});
