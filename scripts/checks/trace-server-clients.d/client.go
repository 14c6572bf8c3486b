// A client of the trace server in Go: posts mergelogs and spans, and checks what the server answers.
//
//	client post ADDRESS NAME GROUPS ACKNOWLEDGED   posts, repeating what gets no answer; adds a line per acknowledged post
//	client check ADDRESS GROUPS NAME...            checks the answers to everything that the clients NAME have posted
//
// A group is four CPIDs: two roots a and b, c made of a and b, d made of b and c. client.py posts the same.
package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"cascade/trace-server-client/mergelogpb"
)

const (
	// Groups of one post.
	batch = 25
	// Posts in flight.
	workers = 8
	// How long a post is repeated: a restart of the server takes seconds.
	patience = 5 * time.Minute
	pause    = 50 * time.Millisecond
)

func main() {
	if len(os.Args) < 5 {
		fail("usage: client post ADDRESS NAME GROUPS ACKNOWLEDGED | client check ADDRESS GROUPS NAME...")
	}
	connection, err := grpc.NewClient(os.Args[2],
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		// The default, 4 MiB, is less than all mergelogs.
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)))
	if err != nil {
		fail("cannot connect: %v", err)
	}
	client := mergelogpb.NewMergelogServiceClient(connection)
	switch os.Args[1] {
	case "post":
		post(client, os.Args[3], number(os.Args[4]), os.Args[5])
	case "check":
		check(client, number(os.Args[3]), os.Args[4:])
	default:
		fail("%s: neither post nor check", os.Args[1])
	}
}

func fail(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "error: "+format+"\n", arguments...)
	os.Exit(1)
}

func number(text string) int {
	value, err := strconv.Atoi(text)
	if err != nil {
		fail("%s is not a number", text)
	}
	return value
}

func cpid(name string, group int, member string) *mergelogpb.CPID {
	return &mergelogpb.CPID{Cpid: fmt.Sprintf("%s-%08d-%s", name, group, member)}
}

// The mergelogs of a group; merges first, so that they arrive before their sources.
func mergelogs(name string, group int) []*mergelogpb.Mergelog {
	of := func(member string) *mergelogpb.CPID { return cpid(name, group, member) }
	made := func(cause mergelogpb.CauseType, member string, sources ...*mergelogpb.CPID) *mergelogpb.Mergelog {
		return &mergelogpb.Mergelog{
			NewCpid:      of(member),
			SourceCpids:  sources,
			Time:         &timestamppb.Timestamp{Seconds: 1700000000 + int64(group), Nanos: 5},
			CauseType:    cause,
			CauseMessage: "a reconcile",
			By:           name,
		}
	}
	return []*mergelogpb.Mergelog{
		made(mergelogpb.CauseType_CAUSE_TYPE_MERGE, "d", of("b"), of("c")),
		made(mergelogpb.CauseType_CAUSE_TYPE_MERGE, "c", of("a"), of("b")),
		made(mergelogpb.CauseType_CAUSE_TYPE_NEW_CHANGE, "a"),
		made(mergelogpb.CauseType_CAUSE_TYPE_NEW_CHANGE, "b"),
	}
}

func span(name string, group int) *mergelogpb.Span {
	return &mergelogpb.Span{
		Cpid:      cpid(name, group, "d"),
		StartTime: &timestamppb.Timestamp{Seconds: 1700000000 + int64(group)},
		EndTime:   &timestamppb.Timestamp{Seconds: 1700000001 + int64(group)},
		Service:   name, ObjectKind: "Pod", ObjectName: "web", Message: "syncPod", SpanId: "1", ParentId: "0",
	}
}

func post(client mergelogpb.MergelogServiceClient, name string, groups int, acknowledged string) {
	file, err := os.OpenFile(acknowledged, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		fail("%v", err)
	}
	starts := make(chan int)
	var waiting sync.WaitGroup
	for range workers {
		waiting.Add(1)
		go func() {
			defer waiting.Done()
			for start := range starts {
				request := &mergelogpb.MergelogRequest{}
				spans := &mergelogpb.PostSpansRequest{}
				for group := start; group < min(start+batch, groups); group++ {
					request.Mergelogs = append(request.Mergelogs, mergelogs(name, group)...)
					if group%100 == 0 {
						spans.Spans = append(spans.Spans, span(name, group))
					}
				}
				insist(func(ctx context.Context) error { _, err := client.PostMergelogs(ctx, request); return err })
				if len(spans.Spans) > 0 {
					insist(func(ctx context.Context) error { _, err := client.PostSpans(ctx, spans); return err })
				}
				// One write per line: lines of several workers do not mix.
				if _, err := fmt.Fprintf(file, "%d\n", len(request.Mergelogs)); err != nil {
					fail("%v", err)
				}
			}
		}()
	}
	for start := 0; start < groups; start += batch {
		starts <- start
	}
	close(starts)
	waiting.Wait()
	if err := file.Close(); err != nil {
		fail("%v", err)
	}
}

// Repeats a call for as long as the server is not there. Posting the same twice does no harm.
func insist(call func(context.Context) error) {
	deadline := time.Now().Add(patience)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		err := call(ctx)
		cancel()
		if err == nil {
			return
		}
		if status.Code(err) != codes.Unavailable || time.Now().After(deadline) {
			fail("%v", err)
		}
		time.Sleep(pause)
	}
}

func check(client mergelogpb.MergelogServiceClient, groups int, names []string) {
	ctx := context.Background()
	all, err := client.GetAllMergelogs(ctx, &emptypb.Empty{})
	if err != nil {
		fail("%v", err)
	}
	expected := 4 * groups * len(names)
	if len(all.Mergelogs) != expected {
		fail("%d mergelogs instead of %d", len(all.Mergelogs), expected)
	}
	seen := make(map[string]*mergelogpb.Mergelog, expected)
	for _, mergelog := range all.Mergelogs {
		if _, twice := seen[mergelog.NewCpid.Cpid]; twice {
			fail("%s is there twice", mergelog.NewCpid.Cpid)
		}
		seen[mergelog.NewCpid.Cpid] = mergelog
	}
	for _, name := range names {
		for group := range groups {
			for _, posted := range mergelogs(name, group) {
				found := seen[posted.NewCpid.Cpid]
				if found == nil {
					fail("%s is lost", posted.NewCpid.Cpid)
				}
				if found.String() != posted.String() {
					fail("%v instead of %v", found, posted)
				}
			}
		}
		relevant(client, name, 0)
		relevant(client, name, groups-1)
	}
	fmt.Printf("Go: all %d mergelogs are there once, as posted\n", expected)
}

func relevant(client mergelogpb.MergelogServiceClient, name string, group int) {
	ctx := context.Background()
	for _, query := range []struct {
		of       string
		expected []string
	}{{"a", []string{"a", "c", "d"}}, {"b", []string{"b", "c", "d"}}, {"d", []string{"d"}}, {"x", nil}} {
		answer, err := client.GetRelevantMergelogs(ctx, cpid(name, group, query.of))
		if err != nil {
			fail("%v", err)
		}
		var found, expected []string
		for _, mergelog := range answer.Mergelogs {
			found = append(found, mergelog.NewCpid.Cpid)
		}
		for _, member := range query.expected {
			expected = append(expected, cpid(name, group, member).Cpid)
		}
		slices.Sort(found)
		if !slices.Equal(found, expected) {
			fail("descendants of %v: %v instead of %v", cpid(name, group, query.of), found, expected)
		}
	}
	if group%100 == 0 {
		spans, err := client.GetRelevantSpans(ctx, cpid(name, group, "a"))
		if err != nil {
			fail("%v", err)
		}
		if len(spans.Spans) != 1 || spans.Spans[0].String() != span(name, group).String() {
			fail("spans of group %d: %v", group, spans.Spans)
		}
	}
}
