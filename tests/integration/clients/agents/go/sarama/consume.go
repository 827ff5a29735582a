package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"millstream.test/agents/agent"
)

func (c *client) addConsuming(operations map[string]agent.Operation) {
	operations["consumer"] = agent.On(c.consumer)
	operations["poll"] = agent.On(c.poll)
	operations["commit"] = agent.On(c.commit)
	operations["committed"] = agent.On(func(a offsetsArguments) ([]agent.Position, error) {
		return c.offsetsOf(c.consumers[a.Handle].group)
	})
	operations["close_consumer"] = agent.On(c.closeConsumer)
}

// consumer is a member of a group, or reads partitions it was given; either puts messages into one channel.
type consumer struct {
	group     string
	member    sarama.ConsumerGroup
	direct    sarama.Consumer
	messages  chan *sarama.ConsumerMessage
	errors    chan error
	stop      context.CancelFunc
	stopped   sync.WaitGroup
	ownership agent.Ownership
	lock      sync.Mutex
	session   sarama.ConsumerGroupSession
}

type consumerArguments struct {
	Handle, Group, Assignor string
	Topics                  []string
	Positions               []agent.Position
	InstanceID              string `json:"instance_id"`
	ReadCommitted           bool   `json:"read_committed"`
	SessionTimeoutMs        int    `json:"session_timeout_ms"`
	FetchMaxWaitMs          int    `json:"fetch_max_wait_ms"`
	FetchMaxBytes           int32  `json:"fetch_max_bytes"`
}

func (c *client) consumer(a consumerArguments) (nothing, error) {
	config := settings()
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Return.Errors = true
	config.Consumer.Group.Heartbeat.Interval = 300 * time.Millisecond
	config.Consumer.Group.InstanceId = a.InstanceID
	if a.Assignor == "roundrobin" {
		strategy := sarama.NewBalanceStrategyRoundRobin()
		config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{strategy}
	}
	if a.ReadCommitted {
		config.Consumer.IsolationLevel = sarama.ReadCommitted
	}
	if a.SessionTimeoutMs > 0 {
		config.Consumer.Group.Session.Timeout = time.Duration(a.SessionTimeoutMs) * time.Millisecond
	}
	config.Consumer.MaxWaitTime = 100 * time.Millisecond // commits wait for a fetch: they share a connection
	if a.FetchMaxWaitMs > 0 {
		config.Consumer.MaxWaitTime = time.Duration(a.FetchMaxWaitMs) * time.Millisecond
		config.Net.ReadTimeout = config.Consumer.MaxWaitTime + 5*time.Second
	}
	if a.FetchMaxBytes > 0 {
		config.Consumer.Fetch.Default = a.FetchMaxBytes
	}
	ctx, cancel := context.WithCancel(context.Background())
	opened := &consumer{
		group: a.Group, stop: cancel, messages: make(chan *sarama.ConsumerMessage), errors: make(chan error, 100),
	}
	var err error
	if a.Positions != nil {
		err = opened.readPartitions(ctx, c.bootstrap, config, a.Positions)
	} else {
		err = opened.join(ctx, c.bootstrap, config, a)
	}
	if err == nil {
		c.consumers[a.Handle] = opened
	}
	return nothing{}, err
}

func (o *consumer) readPartitions(
	ctx context.Context, bootstrap []string, config *sarama.Config, positions []agent.Position,
) error {
	direct, err := sarama.NewConsumer(bootstrap, config)
	if err != nil {
		return err
	}
	o.direct = direct
	for _, position := range positions { // -1 and -2 are sarama's numbers, too
		partition, err := direct.ConsumePartition(position.Topic, position.Partition, position.Offset)
		if err != nil {
			return err
		}
		o.stopped.Add(1)
		go func() {
			defer o.stopped.Done()
			o.forward(ctx, partition.Messages(), partition.Errors())
			partition.AsyncClose()
			for range partition.Messages() { // until it is closed
			}
		}()
	}
	return nil
}

func (o *consumer) forward(ctx context.Context, from <-chan *sarama.ConsumerMessage, errors <-chan *sarama.ConsumerError) {
	for {
		select {
		case message, open := <-from:
			if !open {
				return
			}
			select {
			case o.messages <- message:
			case <-ctx.Done():
				return
			}
		case failed := <-errors:
			if failed != nil {
				o.errors <- failed.Err
			}
		case <-ctx.Done():
			return
		}
	}
}

func (o *consumer) join(
	ctx context.Context, bootstrap []string, config *sarama.Config, a consumerArguments,
) error {
	member, err := sarama.NewConsumerGroup(bootstrap, a.Group, config)
	if err != nil {
		return err
	}
	o.member = member
	o.stopped.Add(1)
	go func() {
		defer o.stopped.Done()
		for ctx.Err() == nil {
			err := member.Consume(ctx, a.Topics, o)
			if errors.Is(err, sarama.ErrFencedInstancedId) {
				o.errors <- err
				return
			}
			if err != nil {
				time.Sleep(100 * time.Millisecond) // and again, as sarama's own examples do
			}
		}
	}()
	go func() {
		for err := range member.Errors() {
			select {
			case o.errors <- err:
			default: // nobody reads them
			}
		}
	}()
	return nil
}

func (o *consumer) Setup(session sarama.ConsumerGroupSession) error {
	o.lock.Lock()
	defer o.lock.Unlock()
	o.session = session
	o.ownership.Assigned(session.Claims())
	return nil
}

func (o *consumer) Cleanup(session sarama.ConsumerGroupSession) error {
	o.ownership.Revoked(session.Claims())
	return nil
}

func (o *consumer) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	o.forward(session.Context(), claim.Messages(), nil)
	return nil
}

func (o *consumer) currentSession() sarama.ConsumerGroupSession {
	o.lock.Lock()
	defer o.lock.Unlock()
	return o.session
}

func (c *client) poll(a agent.PollArguments) (agent.Polled, error) {
	a = a.WithDefaults()
	o := c.consumers[a.Handle]
	polled := agent.Polled{Records: []agent.Record{}}
	wait := time.After(time.Duration(a.TimeoutMs) * time.Millisecond)
	for waiting := true; waiting && len(polled.Records) < a.Limit; {
		select {
		case message := <-o.messages:
			polled.Records = append(polled.Records, forTest(message))
			wait = time.After(5 * time.Millisecond) // what is there already, but no more
		case <-wait:
			waiting = false
		}
	}
	if len(polled.Records) == 0 {
		select {
		case err := <-o.errors:
			return polled, err
		default:
		}
	}
	polled.Assignment, polled.Revoked = o.ownership.Look()
	return polled, nil
}

func forTest(message *sarama.ConsumerMessage) agent.Record {
	headers := [][2]*string{}
	for _, header := range message.Headers {
		headers = append(headers, [2]*string{agent.Text(header.Key), agent.Text(header.Value)})
	}
	return agent.Record{
		Topic: message.Topic, Partition: message.Partition, Offset: message.Offset,
		Timestamp: message.Timestamp.UnixMilli(), Key: agent.Text(message.Key), Value: agent.Text(message.Value),
		Headers: headers,
	}
}

type offsetsArguments struct {
	Handle, Group string
	Offsets       []agent.Position
	Partitions    []agent.Position
}

func (c *client) commit(a offsetsArguments) (nothing, error) {
	o := c.consumers[a.Handle]
	if o.member == nil {
		return c.alterGroupOffsets(offsetsArguments{Group: o.group, Offsets: a.Offsets})
	}
	session := o.currentSession()
	for _, wanted := range a.Offsets {
		session.MarkOffset(wanted.Topic, wanted.Partition, wanted.Offset, wanted.Metadata)
		session.ResetOffset(wanted.Topic, wanted.Partition, wanted.Offset, wanted.Metadata)
	}
	session.Commit()
	select {
	case err := <-o.errors:
		return nothing{}, err
	default:
		return nothing{}, nil
	}
}

func (c *client) closeConsumer(a handleArgument) (nothing, error) {
	o := c.consumers[a.Handle]
	delete(c.consumers, a.Handle)
	o.stop()
	var err error
	if o.member != nil {
		err = o.member.Close()
	}
	o.stopped.Wait()
	if o.direct != nil {
		err = o.direct.Close()
	}
	if errors.Is(err, sarama.ErrClosedConsumerGroup) {
		err = nil
	}
	return nothing{}, err
}
