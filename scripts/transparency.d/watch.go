package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/metadata"
)

// watching opens a Watch stream of its own for a conversation.
func watching(name string, converse func(*target, *transcript, pb.Watch_WatchClient), pairs ...string) behaviour {
	return behaviour{name, func(t *target, said *transcript) {
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		stream, err := pb.NewWatchClient(t.conn).Watch(metadata.AppendToOutgoingContext(ctx, pairs...))
		if err != nil {
			sayStatus(said, err)
			return
		}
		converse(t, said, stream)
	}}
}

func create(stream pb.Watch_WatchClient, request *pb.WatchCreateRequest) {
	// An error shows when receiving.
	_ = stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: request}})
}

// hear says the next n answers.
func hear(said *transcript, stream pb.Watch_WatchClient, n int) {
	for range n {
		answer, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			said.say("end of the stream; trailers: %s", metadataText(stream.Trailer()))
			return
		}
		if err != nil {
			sayStatus(said, err)
			return
		}
		said.say("%s", clipped(answer.String()))
	}
}

func write(t *target, key, value string) {
	// A failure shows as an event that is missing.
	_, _ = pb.NewKVClient(t.conn).Put(context.Background(), &pb.PutRequest{Key: []byte(key), Value: []byte(value)})
}

func watches() []behaviour {
	return []behaviour{
		watching("Watch: created, event, cancelled", func(t *target, said *transcript, stream pb.Watch_WatchClient) {
			create(stream, &pb.WatchCreateRequest{Key: []byte("/w"), PrevKv: true})
			hear(said, stream, 1)
			write(t, "/w", "1")
			hear(said, stream, 1)
			write(t, "/w", "2")
			hear(said, stream, 1)
			_ = stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: 0}}})
			hear(said, stream, 1)
		}),
		watching("Watch: several on one stream, as kube-apiserver's", func(t *target, said *transcript, stream pb.Watch_WatchClient) {
			for _, prefix := range []string{"/registry/pods/", "/registry/services/"} {
				create(stream, &pb.WatchCreateRequest{Key: []byte(prefix), RangeEnd: []byte(prefix[:len(prefix)-1] + "0"), PrevKv: true, ProgressNotify: true})
				hear(said, stream, 1)
			}
			write(t, "/registry/services/a", "1")
			hear(said, stream, 1)
			write(t, "/registry/pods/a", "1")
			hear(said, stream, 1)
		}, "hasleader", "true"),
		watching("Watch: progress is asked for", func(_ *target, said *transcript, stream pb.Watch_WatchClient) {
			create(stream, &pb.WatchCreateRequest{Key: []byte("/w")})
			hear(said, stream, 1)
			_ = stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
			hear(said, stream, 1)
		}),
		watching("Watch: filters", func(t *target, said *transcript, stream pb.Watch_WatchClient) {
			create(stream, &pb.WatchCreateRequest{Key: []byte("/w"), Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT}})
			hear(said, stream, 1)
			write(t, "/w", "3")
			_, _ = pb.NewKVClient(t.conn).DeleteRange(context.Background(), &pb.DeleteRangeRequest{Key: []byte("/w")})
			hear(said, stream, 1)
		}),
		watching("Watch: a history of large events, in fragments", func(t *target, said *transcript, stream pb.Watch_WatchClient) {
			request := &pb.TxnRequest{}
			for i := range 3 {
				request.Success = append(request.Success, putOp(fmt.Sprint("/fragments/", i), strings.Repeat("f", 450_000)))
			}
			answer, err := pb.NewKVClient(t.conn).Txn(context.Background(), request)
			if err != nil {
				sayStatus(said, err)
				return
			}
			for i := range 3 {
				write(t, fmt.Sprint("/fragments/", i), strings.Repeat("g", 1_400_000))
			}
			create(stream, &pb.WatchCreateRequest{Key: []byte("/fragments/"), RangeEnd: []byte("/fragments0"), StartRevision: answer.Header.Revision, Fragment: true})
			events := 0
			for events < 6 {
				part, err := stream.Recv()
				if err != nil {
					sayStatus(said, err)
					return
				}
				events += len(part.Events)
				said.say("created %v, fragment %v, %d events, %d bytes", part.Created, part.Fragment, len(part.Events), part.Size())
			}
		}),
		watching("Watch: from a compacted revision", func(_ *target, said *transcript, stream pb.Watch_WatchClient) {
			create(stream, &pb.WatchCreateRequest{Key: []byte("/w"), StartRevision: 1})
			hear(said, stream, 2)
		}),
		watching("Watch: from a future revision", func(_ *target, said *transcript, stream pb.Watch_WatchClient) {
			create(stream, &pb.WatchCreateRequest{Key: []byte("/w"), StartRevision: 1 << 40})
			hear(said, stream, 1)
		}),
		watching("Watch: an id that is in use", func(_ *target, said *transcript, stream pb.Watch_WatchClient) {
			create(stream, &pb.WatchCreateRequest{Key: []byte("/w"), WatchId: 7})
			hear(said, stream, 1)
			create(stream, &pb.WatchCreateRequest{Key: []byte("/w"), WatchId: 7})
			hear(said, stream, 1)
		}),
		watching("Watch: cancelling what is not watched", func(_ *target, said *transcript, stream pb.Watch_WatchClient) {
			_ = stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: 99}}})
			create(stream, &pb.WatchCreateRequest{Key: []byte("/w")})
			hear(said, stream, 1)
		}),
		watching("Watch: the client closes its side", func(t *target, said *transcript, stream pb.Watch_WatchClient) {
			create(stream, &pb.WatchCreateRequest{Key: []byte("/w")})
			hear(said, stream, 1)
			_ = stream.CloseSend()
			// etcd goes on: events still come.
			write(t, "/w", "4")
			hear(said, stream, 1)
		}),
		watching("Watch: a thousand small events in order", func(t *target, said *transcript, stream pb.Watch_WatchClient) {
			create(stream, &pb.WatchCreateRequest{Key: []byte("/small")})
			hear(said, stream, 1)
			go func() {
				for i := range 1000 {
					write(t, "/small", fmt.Sprint(i))
				}
			}()
			events, last := 0, int64(0)
			for events < 1000 {
				answer, err := stream.Recv()
				if err != nil {
					sayStatus(said, err)
					return
				}
				for _, event := range answer.Events {
					if string(event.Kv.Value) != fmt.Sprint(events) {
						said.say("event %d is %s", events, event.Kv.Value)
					}
					events++
					last = event.Kv.ModRevision
				}
			}
			said.say("%d events, the last at revision %d", events, last)
		}),
	}
}
