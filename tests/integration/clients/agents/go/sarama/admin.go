package main

import (
	"fmt"
	"sort"

	"github.com/IBM/sarama"

	"millstream.test/agents/agent"
)

func (c *client) addAdministration(operations map[string]agent.Operation) {
	operations["create_topic"] = agent.On(c.createTopic)
	operations["delete_topic"] = agent.On(c.deleteTopic)
	operations["create_partitions"] = agent.On(c.createPartitions)
	operations["list_topics"] = agent.On(c.listTopics)
	operations["describe_topic"] = agent.On(c.describeTopic)
	operations["describe_configs"] = agent.On(c.describeConfigs)
	operations["alter_configs"] = agent.On(c.alterConfigs)
	operations["list_groups"] = agent.On(c.listGroups)
	operations["describe_group"] = agent.On(c.describeGroup)
	operations["delete_group"] = agent.On(c.deleteGroup)
	operations["group_offsets"] = agent.On(func(a offsetsArguments) ([]agent.Position, error) {
		return c.offsetsOf(a.Group)
	})
	operations["alter_group_offsets"] = agent.On(c.alterGroupOffsets)
	operations["delete_group_offsets"] = agent.On(c.deleteGroupOffsets)
	operations["delete_records"] = agent.On(c.deleteRecords)
	operations["list_offset"] = agent.On(c.listOffset)
	operations["describe_cluster"] = agent.On(c.describeCluster)
}

type topicArguments struct {
	Topic      string
	Partitions int32
	Partition  int32
	Replicas   int16
	Total      int32
	Before     int64
	At         int64
	Configs    map[string]*string
}

func (c *client) createTopic(a topicArguments) (nothing, error) {
	if a.Replicas == 0 {
		a.Replicas = 1
	}
	detail := sarama.TopicDetail{
		NumPartitions: a.Partitions, ReplicationFactor: a.Replicas, ConfigEntries: a.Configs,
	}
	return nothing{}, c.admin.CreateTopic(a.Topic, &detail, false)
}

func (c *client) deleteTopic(a topicArguments) (nothing, error) {
	return nothing{}, c.admin.DeleteTopic(a.Topic)
}

func (c *client) createPartitions(a topicArguments) (nothing, error) {
	return nothing{}, c.admin.CreatePartitions(a.Topic, a.Total, nil, false)
}

func (c *client) listTopics(nothing) ([]string, error) {
	listed, err := c.admin.ListTopics()
	names := []string{}
	for name := range listed {
		names = append(names, name)
	}
	sort.Strings(names)
	return names, err
}

func (c *client) describeTopic(a topicArguments) (map[string]any, error) {
	described, err := c.admin.DescribeTopics([]string{a.Topic})
	if err != nil {
		return nil, err
	}
	if described[0].Err != sarama.ErrNoError {
		return nil, described[0].Err
	}
	leaders := []int32{}
	for _, partition := range described[0].Partitions {
		leaders = append(leaders, partition.Leader)
	}
	return map[string]any{"partitions": len(leaders), "leaders": leaders}, nil
}

type configArguments struct {
	Resource, Name string
	Changes        map[string]*string
	ValidateOnly   bool `json:"validate_only"`
}

var resources = map[string]sarama.ConfigResourceType{
	"topic": sarama.TopicResource, "broker": sarama.BrokerResource,
}

func (c *client) describeConfigs(a configArguments) (map[string]string, error) {
	entries, err := c.admin.DescribeConfig(sarama.ConfigResource{Type: resources[a.Resource], Name: a.Name})
	values := map[string]string{}
	for _, entry := range entries {
		values[entry.Name] = entry.Value
	}
	return values, err
}

func (c *client) alterConfigs(a configArguments) (nothing, error) {
	changes := map[string]sarama.IncrementalAlterConfigsEntry{}
	for name, value := range a.Changes {
		change := sarama.IncrementalAlterConfigsEntry{Operation: sarama.IncrementalAlterConfigsOperationSet, Value: value}
		if value == nil {
			change.Operation = sarama.IncrementalAlterConfigsOperationDelete
		}
		changes[name] = change
	}
	return nothing{}, c.admin.IncrementalAlterConfig(resources[a.Resource], a.Name, changes, a.ValidateOnly)
}

func (c *client) listGroups(nothing) (map[string]any, error) {
	listed, err := c.admin.ListConsumerGroups()
	found := map[string]any{}
	for name, kind := range listed {
		found[name] = map[string]string{"type": kind}
	}
	return found, err
}

func (c *client) describeGroup(a offsetsArguments) (map[string]any, error) {
	described, err := c.admin.DescribeConsumerGroups([]string{a.Group})
	if err != nil {
		return nil, err
	}
	group := described[0]
	members := [][]agent.Partition{}
	for _, member := range group.Members {
		assignment, err := member.GetMemberAssignment()
		if err != nil {
			return nil, err
		}
		partitions := []agent.Partition{}
		for topic, numbers := range assignment.Topics {
			for _, number := range numbers {
				partitions = append(partitions, agent.Partition{Topic: topic, Partition: number})
			}
		}
		members = append(members, agent.Sorted(partitions))
	}
	state := map[string]any{
		"state": group.State, "assignor": group.Protocol, "members": agent.ByMember(members),
	}
	if group.Err != sarama.ErrNoError {
		return state, group.Err
	}
	return state, nil
}

func (c *client) deleteGroup(a offsetsArguments) (nothing, error) {
	return nothing{}, c.admin.DeleteConsumerGroup(a.Group)
}

func (c *client) offsetsOf(group string) ([]agent.Position, error) {
	found, err := c.admin.ListConsumerGroupOffsets(group, nil)
	if err != nil {
		return nil, err
	}
	offsets := []agent.Position{}
	for topic, partitions := range found.Blocks {
		for number, block := range partitions {
			if block.Err != sarama.ErrNoError {
				return nil, block.Err
			}
			offsets = append(offsets, agent.Position{
				Topic: topic, Partition: number, Offset: block.Offset, Metadata: block.Metadata,
			})
		}
	}
	return agent.SortedOffsets(offsets), nil
}

func (c *client) alterGroupOffsets(a offsetsArguments) (nothing, error) {
	offsets := map[string]map[int32]sarama.OffsetAndMetadata{}
	for _, wanted := range a.Offsets {
		if offsets[wanted.Topic] == nil {
			offsets[wanted.Topic] = map[int32]sarama.OffsetAndMetadata{}
		}
		offsets[wanted.Topic][wanted.Partition] = sarama.OffsetAndMetadata{
			Offset: wanted.Offset, Metadata: wanted.Metadata, LeaderEpoch: -1,
		}
	}
	response, err := c.admin.AlterConsumerGroupOffsets(a.Group, offsets, nil)
	if err != nil {
		return nothing{}, err
	}
	for _, partitions := range response.Errors {
		for _, code := range partitions {
			if code != sarama.ErrNoError {
				return nothing{}, code
			}
		}
	}
	return nothing{}, nil
}

func (c *client) deleteGroupOffsets(a offsetsArguments) (nothing, error) {
	for _, partition := range a.Partitions {
		if err := c.admin.DeleteConsumerGroupOffset(a.Group, partition.Topic, partition.Partition); err != nil {
			return nothing{}, err
		}
	}
	return nothing{}, nil
}

// deleteRecords has no low watermark to tell: sarama does not give it.
func (c *client) deleteRecords(a topicArguments) (*int64, error) {
	return nil, c.admin.DeleteRecords(a.Topic, map[int32]int64{a.Partition: a.Before})
}

func (c *client) listOffset(a topicArguments) (int64, error) {
	wanted := map[string]map[int32]int64{a.Topic: {a.Partition: a.At}}
	listed, err := c.admin.ListOffsets(wanted, nil)
	if err != nil {
		return 0, err
	}
	found := listed[a.Topic][a.Partition]
	if found == nil {
		return 0, fmt.Errorf("no answer for %s-%d", a.Topic, a.Partition)
	}
	if found.Err != sarama.ErrNoError && found.Err != nil {
		return 0, found.Err
	}
	return found.Offset, nil
}

func (c *client) describeCluster(nothing) (map[string]any, error) {
	brokers, controller, err := c.admin.DescribeCluster()
	nodes := []int32{}
	for _, broker := range brokers {
		nodes = append(nodes, broker.ID())
	}
	return map[string]any{"nodes": nodes, "cluster_id": fmt.Sprint("controlled by ", controller)}, err
}
