// The agent of sarama.
package main

import (
	"errors"
	"time"

	"github.com/IBM/sarama"

	"millstream.test/agents/agent"
)

// client is the agent's state: what a test has opened, by handle.
type client struct {
	bootstrap []string
	admin     sarama.ClusterAdmin
	asker     sarama.Client
	producers map[string]sarama.SyncProducer
	consumers map[string]*consumer
}

func main() {
	c := &client{producers: map[string]sarama.SyncProducer{}, consumers: map[string]*consumer{}}
	operations := map[string]agent.Operation{
		"connect": agent.On(c.connect),
		"reset":   agent.On(c.reset),
	}
	c.addProducing(operations)
	c.addConsuming(operations)
	c.addAdministration(operations)
	agent.Serve(operations, errorCode)
}

func errorCode(err error) *int {
	var code sarama.KError
	if errors.As(err, &code) {
		number := int(code)
		return &number
	}
	return nil
}

func settings() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Metadata.RefreshFrequency = time.Second
	config.Metadata.Retry.Max = 50 // a broker that starts again is found
	config.Metadata.AllowAutoTopicCreation = false
	return config
}

type nothing struct{}

func (c *client) connect(a struct{ Bootstrap string }) (nothing, error) {
	c.bootstrap = []string{a.Bootstrap}
	asker, err := sarama.NewClient(c.bootstrap, settings())
	if err != nil {
		return nothing{}, err
	}
	c.asker = asker
	c.admin, err = sarama.NewClusterAdminFromClient(asker)
	return nothing{}, err
}

func (c *client) reset(nothing) (nothing, error) {
	for handle := range c.producers {
		c.closeProducer(handleArgument{handle}) // whatever it says: a fenced one says so
	}
	for handle := range c.consumers {
		c.closeConsumer(handleArgument{handle})
	}
	return nothing{}, nil
}

type handleArgument struct{ Handle string }

// --- producing

func (c *client) addProducing(operations map[string]agent.Operation) {
	operations["producer"] = agent.On(c.producer)
	operations["produce"] = agent.On(c.produce)
	operations["begin"] = agent.On(func(a handleArgument) (nothing, error) {
		return nothing{}, c.producers[a.Handle].BeginTxn()
	})
	operations["commit_transaction"] = agent.On(func(a handleArgument) (nothing, error) {
		return nothing{}, c.producers[a.Handle].CommitTxn()
	})
	operations["abort_transaction"] = agent.On(func(a handleArgument) (nothing, error) {
		return nothing{}, c.producers[a.Handle].AbortTxn()
	})
	operations["send_offsets"] = agent.On(c.sendOffsets)
	operations["close_producer"] = agent.On(c.closeProducer)
}

var codecs = map[string]sarama.CompressionCodec{
	"": sarama.CompressionNone, "none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP,
	"snappy": sarama.CompressionSnappy, "lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
}

func (c *client) producer(a agent.ProducerArguments) (nothing, error) {
	config := settings()
	config.Producer.Return.Successes = true
	config.Producer.Compression = codecs[a.Compression]
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Producer.MaxMessageBytes = 10_000_000
	config.Producer.Retry.Max = 100
	config.Producer.Flush.Frequency = 5 * time.Millisecond
	config.Producer.RequiredAcks = sarama.WaitForAll
	if a.Acks != nil {
		config.Producer.RequiredAcks = sarama.RequiredAcks(*a.Acks)
	}
	if a.Idempotent || a.TransactionalID != "" {
		config.Producer.Idempotent = true
		config.Net.MaxOpenRequests = 1
	}
	if a.TransactionalID != "" {
		config.Producer.Transaction.ID = a.TransactionalID
		if a.TransactionTimeoutMs > 0 {
			config.Producer.Transaction.Timeout = time.Duration(a.TransactionTimeoutMs) * time.Millisecond
		}
	}
	producer, err := sarama.NewSyncProducer(c.bootstrap, config)
	if err == nil {
		c.producers[a.Handle] = producer
	}
	return nothing{}, err
}

type produceArguments struct {
	Handle, Topic string
	Records       []agent.Record
}

func (c *client) produce(a produceArguments) ([][2]int64, error) {
	messages := make([]*sarama.ProducerMessage, 0, len(a.Records))
	for _, record := range a.Records {
		messages = append(messages, fromTest(a.Topic, record))
	}
	if err := c.producers[a.Handle].SendMessages(messages); err != nil {
		var failed sarama.ProducerErrors
		if errors.As(err, &failed) {
			err = failed[0].Err // the list itself only counts them
		}
		return nil, err
	}
	done := make([][2]int64, 0, len(messages))
	for _, message := range messages {
		done = append(done, [2]int64{int64(message.Partition), message.Offset})
	}
	return done, nil
}

func fromTest(topic string, record agent.Record) *sarama.ProducerMessage {
	message := &sarama.ProducerMessage{Topic: topic, Partition: record.Partition}
	if record.Key != nil {
		message.Key = sarama.StringEncoder(*record.Key)
	}
	if record.Value != nil {
		message.Value = sarama.StringEncoder(*record.Value)
	}
	if record.Timestamp != 0 {
		message.Timestamp = time.UnixMilli(record.Timestamp)
	}
	for _, header := range record.Headers {
		raw := sarama.RecordHeader{Key: []byte(*header[0]), Value: agent.Raw(header[1])}
		message.Headers = append(message.Headers, raw)
	}
	return message
}

type sendOffsetsArguments struct {
	Handle, Consumer, Group string
	Offsets                 []agent.Position
}

func (c *client) sendOffsets(a sendOffsetsArguments) (nothing, error) {
	offsets := map[string][]*sarama.PartitionOffsetMetadata{}
	for _, wanted := range a.Offsets {
		offset := &sarama.PartitionOffsetMetadata{
			Partition: wanted.Partition, Offset: wanted.Offset, Metadata: &wanted.Metadata, LeaderEpoch: -1,
		}
		offsets[wanted.Topic] = append(offsets[wanted.Topic], offset)
	}
	session := c.consumers[a.Consumer].currentSession()
	metadata := sarama.NewConsumerGroupMetadataFromSession(session, a.Group, nil)
	return nothing{}, c.producers[a.Handle].AddOffsetsToTxnWithGroupMetadata(offsets, metadata)
}

func (c *client) closeProducer(a handleArgument) (nothing, error) {
	producer := c.producers[a.Handle]
	delete(c.producers, a.Handle)
	return nothing{}, producer.Close()
}
