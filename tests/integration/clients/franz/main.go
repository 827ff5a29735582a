// A franz-go client that writes and reads a topic through a consumer group.
//
//	franz BOOTSTRAP produce TOPIC COUNT   write the values 0..COUNT-1, print "produced COUNT"
//	franz BOOTSTRAP consume TOPIC GROUP COUNT   read COUNT records, commit, print each value on a line
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	if len(os.Args) < 5 {
		log.Fatal("usage: franz BOOTSTRAP produce TOPIC COUNT | franz BOOTSTRAP consume TOPIC GROUP COUNT")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	bootstrap, what, topic := os.Args[1], os.Args[2], os.Args[3]
	if what == "produce" {
		produce(ctx, bootstrap, topic, number(os.Args[4]))
		return
	}
	consume(ctx, bootstrap, topic, os.Args[4], number(os.Args[5]))
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		log.Fatal(err)
	}
	return n
}

func produce(ctx context.Context, bootstrap, topic string, count int) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(bootstrap), kgo.AllowAutoTopicCreation(), kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	for n := range count {
		record := &kgo.Record{
			Topic: topic, Key: []byte("key"), Value: []byte(strconv.Itoa(n)),
			Headers: []kgo.RecordHeader{{Key: "from", Value: []byte("franz-go")}},
		}
		client.Produce(ctx, record, func(_ *kgo.Record, err error) {
			if err != nil {
				log.Fatal(err)
			}
		})
	}
	if err := client.Flush(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("produced", count)
}

func consume(ctx context.Context, bootstrap, topic, group string, count int) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(bootstrap), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	for seen := 0; seen < count; {
		fetches := client.PollRecords(ctx, count-seen)
		if errs := fetches.Errors(); len(errs) > 0 {
			log.Fatal(errs)
		}
		records := fetches.Records()
		for _, record := range records {
			fmt.Println(string(record.Value))
		}
		seen += len(records)
		if err := client.CommitRecords(ctx, records...); err != nil {
			log.Fatal(err)
		}
	}
}
