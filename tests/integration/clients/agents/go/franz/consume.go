package main

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millstream.test/agents/agent"
)

func (f *franz) addConsuming(operations map[string]agent.Operation) {
	operations["consumer"] = agent.On(f.consumer)
	operations["poll"] = agent.On(f.poll)
	operations["commit"] = agent.On(f.commit)
	operations["committed"] = agent.On(f.committed)
	operations["close_consumer"] = agent.On(f.closeConsumer)
}

type consumer struct {
	client    *kgo.Client
	group     string
	member    bool // of the group; otherwise it only commits in its name
	ownership agent.Ownership
}

type consumerArguments struct {
	Handle, Group, Protocol, Assignor string
	Topics                            []string
	Positions                         []agent.Position
	InstanceID                        string `json:"instance_id"`
	ReadCommitted                     bool   `json:"read_committed"`
	SessionTimeoutMs                  int    `json:"session_timeout_ms"`
	FetchMaxWaitMs                    int    `json:"fetch_max_wait_ms"`
	FetchMaxBytes                     int32  `json:"fetch_max_bytes"`
}

var balancers = map[string]kgo.GroupBalancer{
	"": kgo.RangeBalancer(), "range": kgo.RangeBalancer(), "roundrobin": kgo.RoundRobinBalancer(),
	"cooperative-sticky": kgo.CooperativeStickyBalancer(), "uniform": kgo.StickyBalancer(),
}

func (f *franz) consumer(a consumerArguments) (nothing, error) {
	c := &consumer{group: a.Group, member: a.Positions == nil}
	options := []kgo.Opt{
		kgo.SeedBrokers(f.bootstrap), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.MetadataMinAge(50 * time.Millisecond), kgo.MetadataMaxAge(time.Second),
	}
	if a.ReadCommitted {
		options = append(options, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	if a.FetchMaxWaitMs > 0 {
		options = append(options, kgo.FetchMaxWait(time.Duration(a.FetchMaxWaitMs)*time.Millisecond))
	}
	if a.FetchMaxBytes > 0 {
		options = append(options, kgo.FetchMaxBytes(a.FetchMaxBytes), kgo.FetchMaxPartitionBytes(a.FetchMaxBytes))
	}
	if c.member {
		options = append(options, c.groupOptions(a)...)
	} else {
		options = append(options, kgo.ConsumePartitions(positions(a.Positions)))
	}
	client, err := kgo.NewClient(options...)
	if err == nil {
		c.client = client
		f.consumers[a.Handle] = c
	}
	return nothing{}, err
}

func (c *consumer) groupOptions(a consumerArguments) []kgo.Opt {
	took := func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
		c.ownership.Assigned(partitions)
	}
	gave := func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) { c.ownership.Revoked(partitions) }
	options := []kgo.Opt{
		kgo.ConsumerGroup(a.Group), kgo.ConsumeTopics(a.Topics...), kgo.DisableAutoCommit(),
		kgo.Balancers(balancers[a.Assignor]), kgo.HeartbeatInterval(300 * time.Millisecond),
		kgo.OnPartitionsAssigned(took), kgo.OnPartitionsRevoked(gave), kgo.OnPartitionsLost(gave),
	}
	if a.SessionTimeoutMs > 0 {
		options = append(options, kgo.SessionTimeout(time.Duration(a.SessionTimeoutMs)*time.Millisecond))
	}
	if a.InstanceID != "" {
		options = append(options, kgo.InstanceID(a.InstanceID))
	}
	if a.Protocol == "consumer" {
		options = append(options, kgo.ServerSideBalancer())
	}
	if len(a.Topics) > 0 && a.Topics[0][0] == '^' {
		options = append(options, kgo.ConsumeRegex())
	}
	return options
}

func positions(given []agent.Position) map[string]map[int32]kgo.Offset {
	offsets := map[string]map[int32]kgo.Offset{}
	for _, position := range given {
		offset := kgo.NewOffset()
		switch position.Offset {
		case -2:
			offset = offset.AtStart()
		case -1:
			offset = offset.AtEnd()
		default:
			offset = offset.At(position.Offset)
		}
		if offsets[position.Topic] == nil {
			offsets[position.Topic] = map[int32]kgo.Offset{}
		}
		offsets[position.Topic][position.Partition] = offset
	}
	return offsets
}

func (f *franz) poll(a agent.PollArguments) (agent.Polled, error) {
	a = a.WithDefaults()
	c := f.consumers[a.Handle]
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(a.TimeoutMs)*time.Millisecond)
	defer cancel()
	fetches := c.client.PollRecords(ctx, a.Limit)
	polled := agent.Polled{Records: []agent.Record{}}
	for _, record := range fetches.Records() {
		polled.Records = append(polled.Records, forTest(record))
	}
	for _, failed := range fetches.Errors() {
		if len(polled.Records) == 0 && failed.Err != context.DeadlineExceeded {
			return polled, failed.Err
		}
	}
	polled.Assignment, polled.Revoked = c.ownership.Look()
	return polled, nil
}

func forTest(record *kgo.Record) agent.Record {
	headers := [][2]*string{}
	for _, header := range record.Headers {
		headers = append(headers, [2]*string{&header.Key, agent.Text(header.Value)})
	}
	return agent.Record{
		Topic: record.Topic, Partition: record.Partition, Offset: record.Offset,
		Timestamp: record.Timestamp.UnixMilli(), Key: agent.Text(record.Key), Value: agent.Text(record.Value),
		Headers: headers,
	}
}

type offsetsArguments struct {
	Handle, Group string
	Offsets       []agent.Position
	Partitions    []agent.Position
}

func (f *franz) commit(a offsetsArguments) (nothing, error) {
	ctx, cancel := inTime()
	defer cancel()
	c := f.consumers[a.Handle]
	if !c.member {
		return nothing{}, f.admin.CommitAllOffsets(ctx, c.group, adminOffsets(a.Offsets))
	}
	metadata := map[agent.Partition]string{}
	offsets := map[string]map[int32]kgo.EpochOffset{}
	for _, wanted := range a.Offsets {
		metadata[agent.Partition{Topic: wanted.Topic, Partition: wanted.Partition}] = wanted.Metadata
		if offsets[wanted.Topic] == nil {
			offsets[wanted.Topic] = map[int32]kgo.EpochOffset{}
		}
		offsets[wanted.Topic][wanted.Partition] = kgo.EpochOffset{Epoch: -1, Offset: wanted.Offset}
	}
	ctx = kgo.PreCommitFnContext(ctx, func(request *kmsg.OffsetCommitRequest) error {
		for t := range request.Topics {
			for p := range request.Topics[t].Partitions {
				partition := &request.Topics[t].Partitions[p]
				text := metadata[agent.Partition{Topic: request.Topics[t].Topic, Partition: partition.Partition}]
				partition.Metadata = &text
			}
		}
		return nil
	})
	var failed error
	c.client.CommitOffsetsSync(ctx, offsets,
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, response *kmsg.OffsetCommitResponse, err error) {
			failed = firstCommitError(response, err)
		})
	return nothing{}, failed
}

func (f *franz) committed(a offsetsArguments) ([]agent.Position, error) {
	return f.offsetsOf(f.consumers[a.Handle].group)
}

func (f *franz) closeConsumer(a handle) (nothing, error) {
	f.consumers[a.Handle].client.Close()
	delete(f.consumers, a.Handle)
	return nothing{}, nil
}

func adminOffsets(given []agent.Position) kadm.Offsets {
	offsets := kadm.Offsets{}
	for _, wanted := range given {
		offsets.Add(kadm.Offset{
			Topic: wanted.Topic, Partition: wanted.Partition, At: wanted.Offset, LeaderEpoch: -1,
			Metadata: wanted.Metadata,
		})
	}
	return offsets
}
