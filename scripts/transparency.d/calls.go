package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
)

// calls is what clients do to calls: metadata, deadlines, cancellation, many at once.
func calls() []behaviour {
	ranging := func(name string, options []grpc.CallOption, pairs ...string) behaviour {
		return behaviour{name, func(t *target, said *transcript) {
			ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
			defer cancel()
			ctx = metadata.AppendToOutgoingContext(ctx, pairs...)
			sayCall(said, func(more ...grpc.CallOption) (any, error) {
				return pb.NewKVClient(t.conn).Range(ctx, &pb.RangeRequest{Key: []byte("/none")}, append(options, more...)...)
			})
		}}
	}
	return []behaviour{
		ranging("a call with traceparent and baggage", nil,
			"traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "baggage", "cpid=abc,other=1"),
		ranging("a call with hasleader and client-api-version", nil, "hasleader", "true", "client-api-version", "3.6"),
		ranging("a call with binary metadata", nil, "something-bin", "\x00\xff\x80"),
		ranging("a call with 12 KB of metadata", nil, "long", strings.Repeat("m", 12_000)),
		ranging("a call with many pieces of metadata", nil, manyPairs()...),
		ranging("a compressed call", []grpc.CallOption{grpc.UseCompressor(gzip.Name)}),
		{"a deadline that is over at once", func(t *target, said *transcript) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Nanosecond)
			defer cancel()
			_, err := pb.NewKVClient(t.conn).Range(ctx, &pb.RangeRequest{Key: []byte("/a")})
			sayStatus(said, err)
		}},
		{"a watch until its deadline", func(t *target, said *transcript) {
			ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
			defer cancel()
			stream, err := pb.NewWatchClient(t.conn).Watch(ctx)
			if err != nil {
				sayStatus(said, err)
				return
			}
			create(stream, &pb.WatchCreateRequest{Key: []byte("/never")})
			hear(said, stream, 1)
			hear(said, stream, 1)
		}},
		{"64 calls at once on one connection", func(t *target, said *transcript) {
			var all sync.WaitGroup
			var lock sync.Mutex
			outcomes := map[string]int{}
			for i := range 64 {
				all.Add(1)
				go func() {
					defer all.Done()
					key := fmt.Appendf(nil, "/parallel/%02d", i)
					_, err := pb.NewKVClient(t.conn).Put(context.Background(), &pb.PutRequest{Key: key, Value: key})
					lock.Lock()
					defer lock.Unlock()
					outcomes[fmt.Sprint(err)]++
				}()
			}
			all.Wait()
			said.say("%v", outcomes)
		}},
		{"cancelling one call does not disturb the others", func(t *target, said *transcript) {
			for range 20 {
				ctx, cancel := context.WithCancel(context.Background())
				stream, err := pb.NewWatchClient(t.conn).Watch(ctx)
				if err == nil {
					create(stream, &pb.WatchCreateRequest{Key: []byte("/never")})
					_, err = stream.Recv()
				}
				cancel()
				if err != nil {
					sayStatus(said, err)
				}
			}
			answer, err := pb.NewKVClient(t.conn).Range(context.Background(), &pb.RangeRequest{Key: []byte("/none")})
			said.say("%v %v", answer, err)
		}},
		{"200 connections, each for one call", func(t *target, said *transcript) {
			for i := range 200 {
				own, err := t.dial()
				if err == nil {
					_, err = pb.NewMaintenanceClient(own).Status(context.Background(), &pb.StatusRequest{})
					own.Close()
				}
				if err != nil {
					said.say("connection %d: %v", i, err)
					return
				}
			}
			said.say("all answered")
		}},
		{"six watches of 8 MB that are not read do not stall other calls", unreadWatches},
	}
}

func manyPairs() []string {
	var pairs []string
	for i := range 100 {
		pairs = append(pairs, fmt.Sprint("key-", i), fmt.Sprint("value-", i))
	}
	return pairs
}

// unreadWatches opens watches with a large history and does not read it, then makes calls on the same connection.
func unreadWatches(t *target, said *transcript) {
	own, err := t.dial(grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(1<<20))
	if err != nil {
		said.say("%v", err)
		return
	}
	defer own.Close()
	kv := pb.NewKVClient(own)
	first := int64(0)
	for i := range 8 {
		answer, err := kv.Put(context.Background(), &pb.PutRequest{Key: []byte("/unread"), Value: []byte(strings.Repeat("u", 1_000_000))})
		if err != nil {
			said.say("%v", err)
			return
		}
		if i == 0 {
			first = answer.Header.Revision
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for range 6 {
		stream, err := pb.NewWatchClient(own).Watch(ctx)
		if err != nil {
			sayStatus(said, err)
			return
		}
		create(stream, &pb.WatchCreateRequest{Key: []byte("/unread"), StartRevision: first})
	}
	for i := range 50 {
		limited, done := context.WithTimeout(context.Background(), callTimeout)
		_, err := kv.Range(limited, &pb.RangeRequest{Key: []byte("/none")})
		done()
		if err != nil {
			said.say("call %d: %v", i, err)
			return
		}
	}
	said.say("50 calls answered")
}
