// The agent of franz-go.
package main

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"millstream.test/agents/agent"
)

const timeout = 40 * time.Second

// franz is the agent's state: what a test has opened, by handle.
type franz struct {
	bootstrap string
	admin     *kadm.Client
	producers map[string]*kgo.Client
	consumers map[string]*consumer
	sessions  map[string]*kgo.GroupTransactSession
}

func main() {
	f := &franz{
		producers: map[string]*kgo.Client{}, consumers: map[string]*consumer{},
		sessions: map[string]*kgo.GroupTransactSession{},
	}
	operations := map[string]agent.Operation{
		"connect": agent.On(f.connect),
		"reset":   agent.On(f.reset),
	}
	f.addProducing(operations)
	f.addConsuming(operations)
	f.addAdministration(operations)
	agent.Serve(operations, errorCode)
}

func errorCode(err error) *int {
	var known *kerr.Error
	if errors.As(err, &known) {
		code := int(known.Code)
		return &code
	}
	return nil
}

func inTime() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), timeout)
}

type nothing struct{}

func (f *franz) connect(a struct{ Bootstrap string }) (nothing, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(a.Bootstrap), kgo.MetadataMinAge(50*time.Millisecond))
	f.bootstrap, f.admin = a.Bootstrap, kadm.NewClient(client)
	return nothing{}, err
}

func (f *franz) reset(nothing) (nothing, error) {
	for handle, producer := range f.producers {
		producer.UnsafeAbortBufferedRecords()
		producer.Close()
		delete(f.producers, handle)
	}
	for handle, consumer := range f.consumers {
		consumer.client.Close()
		delete(f.consumers, handle)
	}
	for handle, session := range f.sessions {
		session.Close()
		delete(f.sessions, handle)
	}
	return nothing{}, nil
}
