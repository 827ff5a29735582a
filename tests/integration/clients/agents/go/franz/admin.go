package main

import (
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millstream.test/agents/agent"
)

func (f *franz) addAdministration(operations map[string]agent.Operation) {
	operations["create_topic"] = agent.On(f.createTopic)
	operations["delete_topic"] = agent.On(f.deleteTopic)
	operations["create_partitions"] = agent.On(f.createPartitions)
	operations["list_topics"] = agent.On(f.listTopics)
	operations["describe_topic"] = agent.On(f.describeTopic)
	operations["describe_configs"] = agent.On(f.describeConfigs)
	operations["alter_configs"] = agent.On(f.alterConfigs)
	operations["list_groups"] = agent.On(f.listGroups)
	operations["describe_group"] = agent.On(f.describeGroup)
	operations["delete_group"] = agent.On(f.deleteGroup)
	operations["group_offsets"] = agent.On(f.groupOffsets)
	operations["alter_group_offsets"] = agent.On(f.alterGroupOffsets)
	operations["delete_group_offsets"] = agent.On(f.deleteGroupOffsets)
	operations["delete_records"] = agent.On(f.deleteRecords)
	operations["list_offset"] = agent.On(f.listOffset)
	operations["describe_cluster"] = agent.On(f.describeCluster)
	operations["list_transactions"] = agent.On(f.listTransactions)
	operations["describe_transaction"] = agent.On(f.describeTransaction)
	operations["describe_producers"] = agent.On(f.describeProducers)
}

type topicArguments struct {
	Topic      string
	Partitions int32
	Partition  int32
	Replicas   int16
	Total      int
	Before     int64
	At         int64
	Configs    map[string]*string
}

func (f *franz) createTopic(a topicArguments) (nothing, error) {
	ctx, cancel := inTime()
	defer cancel()
	if a.Replicas == 0 {
		a.Replicas = 1
	}
	created, err := f.admin.CreateTopic(ctx, a.Partitions, a.Replicas, a.Configs, a.Topic)
	if err == nil {
		err = created.Err
	}
	return nothing{}, err
}

func (f *franz) deleteTopic(a topicArguments) (nothing, error) {
	ctx, cancel := inTime()
	defer cancel()
	deleted, err := f.admin.DeleteTopic(ctx, a.Topic)
	if err == nil {
		err = deleted.Err
	}
	return nothing{}, err
}

func (f *franz) createPartitions(a topicArguments) (nothing, error) {
	ctx, cancel := inTime()
	defer cancel()
	grown, err := f.admin.UpdatePartitions(ctx, a.Total, a.Topic)
	if err == nil {
		err = grown.Error()
	}
	return nothing{}, err
}

func (f *franz) listTopics(nothing) ([]string, error) {
	ctx, cancel := inTime()
	defer cancel()
	listed, err := f.admin.ListTopics(ctx)
	return listed.Names(), err
}

func (f *franz) describeTopic(a topicArguments) (map[string]any, error) {
	ctx, cancel := inTime()
	defer cancel()
	listed, err := f.admin.ListTopics(ctx, a.Topic)
	if err == nil {
		err = listed.Error()
	}
	leaders := []int32{}
	for _, partition := range listed[a.Topic].Partitions.Sorted() {
		leaders = append(leaders, partition.Leader)
	}
	return map[string]any{"partitions": len(leaders), "leaders": leaders}, err
}

type configArguments struct {
	Resource, Name string
	Changes        map[string]*string
	ValidateOnly   bool `json:"validate_only"`
}

func (f *franz) describeConfigs(a configArguments) (map[string]*string, error) {
	ctx, cancel := inTime()
	defer cancel()
	var described kadm.ResourceConfigs
	var err error
	if a.Resource == "broker" {
		number, _ := strconv.Atoi(a.Name)
		described, err = f.admin.DescribeBrokerConfigs(ctx, int32(number))
	} else {
		described, err = f.admin.DescribeTopicConfigs(ctx, a.Name)
	}
	if err != nil {
		return nil, err
	}
	values := map[string]*string{}
	for _, entry := range described[0].Configs {
		values[entry.Key] = entry.Value
	}
	return values, described[0].Err
}

func (f *franz) alterConfigs(a configArguments) (nothing, error) {
	ctx, cancel := inTime()
	defer cancel()
	changes := []kadm.AlterConfig{}
	for name, value := range a.Changes {
		change := kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: value}
		if value == nil {
			change.Op = kadm.DeleteConfig
		}
		changes = append(changes, change)
	}
	alter := f.admin.AlterTopicConfigs
	if a.ValidateOnly {
		alter = f.admin.ValidateAlterTopicConfigs
	}
	altered, err := alter(ctx, changes, a.Name)
	if err == nil {
		err = altered[0].Err
	}
	return nothing{}, err
}

func (f *franz) listGroups(nothing) (map[string]any, error) {
	ctx, cancel := inTime()
	defer cancel()
	found := map[string]any{}
	for _, kind := range []string{"classic", "consumer"} {
		listed, err := f.admin.ListGroupsByType(ctx, []string{kind})
		if err != nil {
			return nil, err
		}
		for name, group := range listed {
			found[name] = map[string]string{"state": group.State, "type": kind}
		}
	}
	return found, nil
}

// describeGroup asks with the newer API first, as Java's tools do.
func (f *franz) describeGroup(a offsetsArguments) (map[string]any, error) {
	ctx, cancel := inTime()
	defer cancel()
	members := [][]agent.Partition{}
	newer, err := f.admin.DescribeConsumerGroups(ctx, a.Group)
	if err != nil {
		return nil, err
	}
	if group := newer[a.Group]; group.Err == nil {
		for _, member := range group.Members {
			members = append(members, ofSet(member.Assignment))
		}
		return description(group.State, group.AssignorName, members), nil
	} else if group.Err != kerr.GroupIDNotFound {
		return nil, group.Err
	}
	described, err := f.admin.DescribeGroups(ctx, a.Group)
	if err != nil {
		return nil, err
	}
	group := described[a.Group]
	for _, member := range group.Members {
		assigned, ok := member.Assigned.AsConsumer()
		if !ok {
			return nil, fmt.Errorf("the assignment of %s is not a consumer's", member.MemberID)
		}
		partitions := []agent.Partition{}
		for _, topic := range assigned.Topics {
			for _, number := range topic.Partitions {
				partitions = append(partitions, agent.Partition{Topic: topic.Topic, Partition: number})
			}
		}
		members = append(members, agent.Sorted(partitions))
	}
	return description(group.State, group.Protocol, members), group.Err
}

func description(state, assignor string, members [][]agent.Partition) map[string]any {
	return map[string]any{"state": state, "assignor": assignor, "members": agent.ByMember(members)}
}

func ofSet(set kadm.TopicsSet) []agent.Partition {
	partitions := []agent.Partition{}
	for topic, numbers := range set {
		for number := range numbers {
			partitions = append(partitions, agent.Partition{Topic: topic, Partition: number})
		}
	}
	return agent.Sorted(partitions)
}

func (f *franz) deleteGroup(a offsetsArguments) (nothing, error) {
	ctx, cancel := inTime()
	defer cancel()
	deleted, err := f.admin.DeleteGroup(ctx, a.Group)
	if err == nil {
		err = deleted.Err
	}
	return nothing{}, err
}

func (f *franz) groupOffsets(a offsetsArguments) ([]agent.Position, error) {
	return f.offsetsOf(a.Group)
}

func (f *franz) offsetsOf(group string) ([]agent.Position, error) {
	ctx, cancel := inTime()
	defer cancel()
	found, err := f.admin.FetchOffsets(ctx, group)
	if err == nil {
		err = found.Error()
	}
	offsets := []agent.Position{}
	found.Each(func(offset kadm.OffsetResponse) {
		offsets = append(offsets, agent.Position{
			Topic: offset.Topic, Partition: offset.Partition, Offset: offset.At, Metadata: offset.Metadata,
		})
	})
	return agent.SortedOffsets(offsets), err
}

func (f *franz) alterGroupOffsets(a offsetsArguments) (nothing, error) {
	ctx, cancel := inTime()
	defer cancel()
	return nothing{}, f.admin.CommitAllOffsets(ctx, a.Group, adminOffsets(a.Offsets))
}

func (f *franz) deleteGroupOffsets(a offsetsArguments) (nothing, error) {
	ctx, cancel := inTime()
	defer cancel()
	set := kadm.TopicsSet{}
	for _, partition := range a.Partitions {
		set.Add(partition.Topic, partition.Partition)
	}
	deleted, err := f.admin.DeleteOffsets(ctx, a.Group, set)
	if err == nil {
		err = deleted.Error()
	}
	return nothing{}, err
}

func (f *franz) deleteRecords(a topicArguments) (int64, error) {
	ctx, cancel := inTime()
	defer cancel()
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: a.Topic, Partition: a.Partition, At: a.Before})
	deleted, err := f.admin.DeleteRecords(ctx, offsets)
	if err != nil {
		return 0, err
	}
	response, _ := deleted.Lookup(a.Topic, a.Partition)
	return response.LowWatermark, response.Err
}

func (f *franz) listOffset(a topicArguments) (int64, error) {
	ctx, cancel := inTime()
	defer cancel()
	var listed kadm.ListedOffsets
	var err error
	switch a.At {
	case -1:
		listed, err = f.admin.ListEndOffsets(ctx, a.Topic)
	case -2:
		listed, err = f.admin.ListStartOffsets(ctx, a.Topic)
	case -3:
		listed, err = f.admin.ListMaxTimestampOffsets(ctx, a.Topic)
	default:
		listed, err = f.admin.ListOffsetsAfterMilli(ctx, a.At, a.Topic)
	}
	if err != nil {
		return 0, err
	}
	offset, _ := listed.Lookup(a.Topic, a.Partition)
	return offset.Offset, offset.Err
}

func (f *franz) describeCluster(nothing) (map[string]any, error) {
	ctx, cancel := inTime()
	defer cancel()
	metadata, err := f.admin.BrokerMetadata(ctx)
	return map[string]any{"nodes": metadata.Brokers.NodeIDs(), "cluster_id": metadata.Cluster}, err
}

type transactionArguments struct {
	TransactionalID string `json:"transactional_id"`
}

func (f *franz) listTransactions(nothing) (map[string]string, error) {
	ctx, cancel := inTime()
	defer cancel()
	listed, err := f.admin.ListTransactions(ctx, nil, nil)
	states := map[string]string{}
	listed.Each(func(transaction kadm.ListedTransaction) { states[transaction.TxnID] = transaction.State })
	return states, err
}

func (f *franz) describeTransaction(a transactionArguments) (map[string]any, error) {
	ctx, cancel := inTime()
	defer cancel()
	listed, err := f.admin.DescribeTransactions(ctx, a.TransactionalID)
	if err != nil {
		return nil, err
	}
	described := listed[a.TransactionalID]
	return map[string]any{
		"state": described.State, "producer_id": described.ProducerID, "producer_epoch": described.ProducerEpoch,
		"timeout_ms": described.TimeoutMillis, "partitions": ofSet(described.Topics),
	}, described.Err
}

func (f *franz) describeProducers(a topicArguments) ([]map[string]any, error) {
	ctx, cancel := inTime()
	defer cancel()
	set := kadm.TopicsSet{}
	set.Add(a.Topic, a.Partition)
	described, err := f.admin.DescribeProducers(ctx, set)
	producers := []map[string]any{}
	for _, producer := range described.SortedProducers() {
		producers = append(producers, map[string]any{
			"producer_id": producer.ProducerID, "producer_epoch": producer.ProducerEpoch,
			"last_sequence": producer.LastSequence, "transaction_start": producer.CurrentTxnStartOffset,
		})
	}
	return producers, err
}

func firstCommitError(response *kmsg.OffsetCommitResponse, err error) error {
	if err != nil {
		return err
	}
	for _, topic := range response.Topics {
		for _, partition := range topic.Partitions {
			if err := kerr.ErrorForCode(partition.ErrorCode); err != nil {
				return err
			}
		}
	}
	return nil
}
