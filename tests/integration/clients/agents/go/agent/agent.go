// Package agent is what the agents written in Go share: the loop that serves operations, and JSON shapes.
// The operations are described in the README.md one folder up.
package agent

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"sort"
	"sync"
)

// Record is a record as a test sees it. Partition is where it goes or came from.
type Record struct {
	Topic     string       `json:"topic"`
	Partition int32        `json:"partition"`
	Offset    int64        `json:"offset"`
	Timestamp int64        `json:"timestamp"`
	Key       *string      `json:"key"`
	Value     *string      `json:"value"`
	Headers   [][2]*string `json:"headers"`
}

// Position is [topic, partition, offset, metadata], of which the last two may be left out.
type Position struct {
	Topic     string
	Partition int32
	Offset    int64
	Metadata  string
}

func (p *Position) UnmarshalJSON(raw []byte) error {
	var parts []json.RawMessage
	if err := json.Unmarshal(raw, &parts); err != nil {
		return err
	}
	for n, into := range []any{&p.Topic, &p.Partition, &p.Offset, &p.Metadata} {
		if n < len(parts) {
			if err := json.Unmarshal(parts[n], into); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p Position) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{p.Topic, p.Partition, p.Offset, p.Metadata})
}

// Partition is [topic, partition].
type Partition struct {
	Topic     string
	Partition int32
}

func (p Partition) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{p.Topic, p.Partition})
}

// Sorted sorts partitions in place; never nil, so that JSON has a list.
func Sorted(partitions []Partition) []Partition {
	sort.Slice(partitions, func(a, b int) bool {
		if partitions[a].Topic != partitions[b].Topic {
			return partitions[a].Topic < partitions[b].Topic
		}
		return partitions[a].Partition < partitions[b].Partition
	})
	if partitions == nil {
		return []Partition{}
	}
	return partitions
}

// SortedOffsets sorts positions by topic and partition.
func SortedOffsets(positions []Position) []Position {
	sort.Slice(positions, func(a, b int) bool {
		if positions[a].Topic != positions[b].Topic {
			return positions[a].Topic < positions[b].Topic
		}
		return positions[a].Partition < positions[b].Partition
	})
	if positions == nil {
		return []Position{}
	}
	return positions
}

// ByMember sorts the assignments of a group's members.
func ByMember(members [][]Partition) [][]Partition {
	sort.Slice(members, func(a, b int) bool { return fmt.Sprint(members[a]) < fmt.Sprint(members[b]) })
	return members
}

// ProducerArguments are those of `producer`; Acks is null unless a test asks for less than all.
type ProducerArguments struct {
	Handle               string
	Acks                 *int
	Compression          string
	Idempotent           bool
	TransactionalID      string `json:"transactional_id"`
	TransactionTimeoutMs int    `json:"transaction_timeout_ms"`
}

// PollArguments are those of `poll`.
type PollArguments struct {
	Handle    string
	Limit     int
	TimeoutMs int `json:"timeout_ms"`
}

// WithDefaults fills in what a test left out.
func (a PollArguments) WithDefaults() PollArguments {
	if a.TimeoutMs == 0 {
		a.TimeoutMs = 200
	}
	if a.Limit == 0 {
		a.Limit = 500
	}
	return a
}

// Polled is the answer of `poll`.
type Polled struct {
	Records    []Record    `json:"records"`
	Assignment []Partition `json:"assignment"`
	Revoked    []Partition `json:"revoked"`
}

// Ownership is what a group member has, told by a client's callbacks.
type Ownership struct {
	lock    sync.Mutex
	owned   map[Partition]bool
	revoked []Partition
}

func (o *Ownership) Assigned(partitions map[string][]int32) {
	o.lock.Lock()
	defer o.lock.Unlock()
	if o.owned == nil {
		o.owned = map[Partition]bool{}
	}
	for topic, numbers := range partitions {
		for _, number := range numbers {
			o.owned[Partition{topic, number}] = true
		}
	}
}

func (o *Ownership) Revoked(partitions map[string][]int32) {
	o.lock.Lock()
	defer o.lock.Unlock()
	for topic, numbers := range partitions {
		for _, number := range numbers {
			delete(o.owned, Partition{topic, number})
			o.revoked = append(o.revoked, Partition{topic, number})
		}
	}
}

// Look gives the assignment, and what was revoked since the last look.
func (o *Ownership) Look() (assignment, revoked []Partition) {
	o.lock.Lock()
	defer o.lock.Unlock()
	for partition := range o.owned {
		assignment = append(assignment, partition)
	}
	revoked, o.revoked = o.revoked, nil
	return Sorted(assignment), Sorted(revoked)
}

// Operation does what a test asks for.
type Operation func(arguments json.RawMessage) (any, error)

// On makes an operation of a function with typed arguments.
func On[A, R any](do func(A) (R, error)) Operation {
	return func(raw json.RawMessage) (any, error) {
		var arguments A
		if err := json.Unmarshal(raw, &arguments); err != nil {
			return nil, err
		}
		return do(arguments)
	}
}

// Serve answers one JSON line with another until the input ends. errorCode gives Kafka's number for an
// error, if it has one.
func Serve(operations map[string]Operation, errorCode func(error) *int) {
	lines := bufio.NewReader(os.Stdin)
	answers := json.NewEncoder(os.Stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var request struct{ Op string }
		if err := json.Unmarshal(line, &request); err != nil {
			log.Fatal(err)
		}
		if err := answers.Encode(answer(operations[request.Op], request.Op, line, errorCode)); err != nil {
			log.Fatal(err)
		}
	}
}

func answer(do Operation, name string, line []byte, errorCode func(error) *int) map[string]any {
	if do == nil {
		return map[string]any{"error": map[string]any{"code": nil, "message": "no operation " + name}}
	}
	result, err := do(line)
	if err != nil {
		return map[string]any{"error": map[string]any{"code": errorCode(err), "message": err.Error()}}
	}
	return map[string]any{"ok": result}
}

// Text and Raw convert what may be null.
func Text(raw []byte) *string {
	if raw == nil {
		return nil
	}
	text := string(raw)
	return &text
}

func Raw(text *string) []byte {
	if text == nil {
		return nil
	}
	return []byte(*text)
}
