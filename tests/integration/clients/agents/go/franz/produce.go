package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"millstream.test/agents/agent"
)

func (f *franz) addProducing(operations map[string]agent.Operation) {
	operations["producer"] = agent.On(f.producer)
	operations["produce"] = agent.On(f.produce)
	operations["begin"] = agent.On(f.begin)
	operations["commit_transaction"] = agent.On(f.commitTransaction)
	operations["abort_transaction"] = agent.On(f.abortTransaction)
	operations["close_producer"] = agent.On(f.closeProducer)
	operations["session"] = agent.On(f.session)
	operations["session_transform"] = agent.On(f.sessionTransform)
}

var codecs = map[string]kgo.CompressionCodec{
	"": kgo.NoCompression(), "none": kgo.NoCompression(), "gzip": kgo.GzipCompression(),
	"snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

func (f *franz) producer(a agent.ProducerArguments) (nothing, error) {
	options := []kgo.Opt{
		kgo.SeedBrokers(f.bootstrap), kgo.ProducerBatchCompression(codecs[a.Compression]),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(5 * time.Millisecond),
		kgo.ProducerBatchMaxBytes(10_000_000), kgo.MetadataMinAge(50 * time.Millisecond),
		kgo.UnknownTopicRetries(100),
	}
	if a.Acks != nil && *a.Acks != -1 {
		acks := map[int]kgo.Acks{0: kgo.NoAck(), 1: kgo.LeaderAck()}[*a.Acks]
		options = append(options, kgo.RequiredAcks(acks), kgo.DisableIdempotentWrite())
	}
	if a.TransactionalID != "" {
		options = append(options, kgo.TransactionalID(a.TransactionalID))
		if a.TransactionTimeoutMs > 0 {
			wanted := time.Duration(a.TransactionTimeoutMs) * time.Millisecond
			options = append(options, kgo.TransactionTimeout(wanted))
		} else {
			options = append(options, kgo.TransactionTimeout(time.Minute))
		}
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nothing{}, err
	}
	if a.TransactionalID != "" {
		ctx, cancel := inTime()
		defer cancel()
		if _, _, err := client.ProducerID(ctx); err != nil {
			client.Close()
			return nothing{}, err
		}
	}
	f.producers[a.Handle] = client
	return nothing{}, nil
}

type produceArguments struct {
	Handle, Topic string
	Records       []agent.Record
}

func (f *franz) produce(a produceArguments) ([][2]int64, error) {
	ctx, cancel := inTime()
	defer cancel()
	records := make([]*kgo.Record, 0, len(a.Records))
	for _, given := range a.Records {
		records = append(records, fromTest(a.Topic, given))
	}
	results := f.producers[a.Handle].ProduceSync(ctx, records...)
	done := make([][2]int64, 0, len(records))
	for _, result := range results {
		if errors.Is(result.Err, kerr.UnknownTopicID) { // made anew: franz-go asks its user to say that this is meant
			f.producers[a.Handle].PurgeTopicsFromProducing(a.Topic)
		}
		if result.Err != nil {
			return nil, result.Err
		}
		done = append(done, [2]int64{int64(result.Record.Partition), result.Record.Offset})
	}
	return done, nil
}

func fromTest(topic string, given agent.Record) *kgo.Record {
	record := &kgo.Record{
		Topic: topic, Partition: given.Partition, Key: agent.Raw(given.Key), Value: agent.Raw(given.Value),
	}
	if given.Timestamp != 0 {
		record.Timestamp = time.UnixMilli(given.Timestamp)
	}
	for _, header := range given.Headers {
		record.Headers = append(record.Headers, kgo.RecordHeader{Key: *header[0], Value: agent.Raw(header[1])})
	}
	return record
}

type handle struct{ Handle string }

func (f *franz) begin(a handle) (nothing, error) {
	return nothing{}, f.producers[a.Handle].BeginTransaction()
}

func (f *franz) commitTransaction(a handle) (nothing, error) { return f.end(a.Handle, kgo.TryCommit) }
func (f *franz) abortTransaction(a handle) (nothing, error)  { return f.end(a.Handle, kgo.TryAbort) }

func (f *franz) end(handle string, how kgo.TransactionEndTry) (nothing, error) {
	ctx, cancel := inTime()
	defer cancel()
	return nothing{}, f.producers[handle].EndTransaction(ctx, how)
}

func (f *franz) closeProducer(a handle) (nothing, error) {
	f.producers[a.Handle].UnsafeAbortBufferedRecords()
	f.producers[a.Handle].Close()
	delete(f.producers, a.Handle)
	return nothing{}, nil
}

type sessionArguments struct {
	Handle, Group   string
	Topics          []string
	TransactionalID string `json:"transactional_id"`
	Protocol        string
}

// session opens a client that consumes and produces in transactions.
func (f *franz) session(a sessionArguments) (nothing, error) {
	options := []kgo.Opt{
		kgo.SeedBrokers(f.bootstrap), kgo.ConsumerGroup(a.Group), kgo.ConsumeTopics(a.Topics...),
		kgo.TransactionalID(a.TransactionalID), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.HeartbeatInterval(300 * time.Millisecond), kgo.RequireStableFetchOffsets(),
		kgo.Balancers(kgo.RangeBalancer()),
	}
	if a.Protocol == "consumer" {
		options = append(options, kgo.ServerSideBalancer())
	}
	session, err := kgo.NewGroupTransactSession(options...)
	if err == nil {
		f.sessions[a.Handle] = session
	}
	return nothing{}, err
}

type transformArguments struct {
	Handle, Target string
	Count          int
	Commit         bool
}

// sessionTransform reads `count` records, writes each as <value>, and ends the transaction; the values read.
func (f *franz) sessionTransform(a transformArguments) ([]string, error) {
	ctx, cancel := inTime()
	defer cancel()
	session := f.sessions[a.Handle]
	if err := session.Begin(); err != nil {
		return nil, err
	}
	read := []string{}
	for len(read) < a.Count {
		fetches := session.PollRecords(ctx, a.Count-len(read))
		if errs := fetches.Errors(); len(errs) > 0 {
			return nil, errs[0].Err
		}
		for _, record := range fetches.Records() {
			read = append(read, string(record.Value))
			output := &kgo.Record{Topic: a.Target, Value: []byte("<" + string(record.Value) + ">")}
			if err := session.ProduceSync(ctx, output).FirstErr(); err != nil {
				return nil, err
			}
		}
	}
	committed, err := session.End(ctx, kgo.TransactionEndTry(a.Commit))
	if err == nil && committed != a.Commit {
		err = fmt.Errorf("committed: %v", committed)
	}
	return read, err
}
