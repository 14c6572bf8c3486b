// Command drills is the client's side of scripts/checks/fault-drills: what a client of etcd notices while something
// fails. Each subcommand prints one JSON object.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	address := flags.String("address", "", "host:port of the etcd or of the interceptor")
	seconds := flags.Float64("seconds", 5, "how long to write")
	workers := flags.Int("workers", 4, "how many write at once")
	connections := flags.Int("connections", 2000, "how many to open")
	_ = flags.Parse(os.Args[2:])
	var result any
	var err error
	switch os.Args[1] {
	case "load":
		result, err = load(*address, time.Duration(*seconds*float64(time.Second)), *workers)
	case "freeze":
		result, err = freeze(*address)
	case "idle":
		result, err = idle(*address, *connections)
	case "list":
		result, err = list(*address)
	default:
		usage()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	_ = json.NewEncoder(os.Stdout).Encode(result)
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: drills load|freeze|idle|list --address HOST:PORT …")
	os.Exit(64)
}

// Says on stderr that the drill may go on, for the script to wait for.
func ready() { fmt.Fprintln(os.Stderr, "ready") }

// awaitLine waits until the script says that something has happened.
func awaitLine() { _, _ = bufio.NewReader(os.Stdin).ReadString('\n') }

func dial(address string, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30)))
	return grpc.NewClient("passthrough:///"+address, options...)
}

type loadResult struct {
	Committed   int            `json:"committed"`
	Errors      map[string]int `json:"errors"`
	LongestMs   int64          `json:"longest_without_success_ms"`
	SlowestMs   int64          `json:"slowest_call_ms"`
	WatchEvents int            `json:"watch_events"`
	WatchLost   int            `json:"watch_lost"`
	WatchTwice  int            `json:"watch_twice"`
}

// load writes as kube-apiserver does while a watch of an ordinary etcd client follows; what was committed must be seen by
// the watch exactly once.
func load(address string, duration time.Duration, workers int) (*loadResult, error) {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{address}, DialTimeout: 10 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	prefix := fmt.Sprintf("/drill/%d/", os.Getpid())
	start, err := client.Get(context.Background(), prefix)
	if err != nil {
		return nil, err
	}
	watching, stop := context.WithCancel(context.Background())
	defer stop()
	events := client.Watch(watching, prefix, clientv3.WithPrefix(), clientv3.WithRev(start.Header.Revision+1))

	result := &loadResult{Errors: map[string]int{}}
	var lock sync.Mutex
	committed := map[int64]bool{}
	last := time.Now()
	until := time.Now().Add(duration)
	var all sync.WaitGroup
	ready()
	for worker := range workers {
		all.Add(1)
		go func() {
			defer all.Done()
			for i := 0; time.Now().Before(until); i++ {
				key := fmt.Sprintf("%s%d/%d", prefix, worker, i)
				begun := time.Now()
				limited, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				answer, err := client.Txn(limited).If(clientv3.Compare(clientv3.ModRevision(key), "=", 0)).Then(clientv3.OpPut(key, "value")).Commit()
				cancel()
				lock.Lock()
				result.SlowestMs = max(result.SlowestMs, time.Since(begun).Milliseconds())
				if err != nil {
					result.Errors[status.Code(err).String()]++
				} else if answer.Succeeded {
					committed[answer.Header.Revision] = true
					result.LongestMs = max(result.LongestMs, time.Since(last).Milliseconds())
					last = time.Now()
				}
				lock.Unlock()
				if err != nil {
					time.Sleep(20 * time.Millisecond)
				}
			}
		}()
	}
	all.Wait()
	result.Committed = len(committed)
	result.LongestMs = max(result.LongestMs, time.Since(last).Milliseconds())

	// One more write ends the watch.
	marker, err := client.Put(context.Background(), prefix+"end", "")
	if err != nil {
		return nil, err
	}
	seen := map[int64]int{}
	limit := time.After(30 * time.Second)
	for seen[marker.Header.Revision] == 0 {
		select {
		case answer, open := <-events:
			if !open || answer.Err() != nil {
				return nil, fmt.Errorf("the watch ended: %v", answer.Err())
			}
			for _, event := range answer.Events {
				seen[event.Kv.ModRevision]++
			}
		case <-limit:
			return nil, fmt.Errorf("the watch did not catch up")
		}
	}
	result.WatchEvents = len(seen) - 1
	for revision := range committed {
		if seen[revision] == 0 {
			result.WatchLost++
		}
	}
	for _, times := range seen {
		if times > 1 {
			result.WatchTwice++
		}
	}
	return result, nil
}

type freezeResult struct {
	NoticedMs int64  `json:"noticed_ms"`
	Error     string `json:"error"`
}

// freeze waits until keep-alive pings find out that nobody answers any more, with grpc-go's shortest interval.
func freeze(address string) (*freezeResult, error) {
	conn, err := dial(address, grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 2 * time.Second}))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stream, err := pb.NewWatchClient(conn).Watch(context.Background())
	if err != nil {
		return nil, err
	}
	if _, err := pb.NewKVClient(conn).Put(context.Background(), &pb.PutRequest{Key: []byte("/frozen")}); err != nil {
		return nil, err
	}
	create := &pb.WatchCreateRequest{Key: []byte("/frozen")}
	if err := stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}}); err != nil {
		return nil, err
	}
	if _, err := stream.Recv(); err != nil {
		return nil, err
	}
	ready()
	awaitLine()
	begun := time.Now()
	_, err = stream.Recv()
	text := status.Convert(err)
	return &freezeResult{time.Since(begun).Milliseconds(), text.Code().String() + " " + text.Message()}, nil
}

// idle opens connections, makes one call on each, and holds them.
func idle(address string, connections int) (map[string]int, error) {
	held := make([]*grpc.ClientConn, 0, connections)
	for range connections {
		// As small as grpc-go's buffers go: the client's memory is not what is measured.
		conn, err := dial(address, grpc.WithReadBufferSize(512), grpc.WithWriteBufferSize(512))
		if err != nil {
			return nil, err
		}
		if _, err := pb.NewKVClient(conn).Range(context.Background(), &pb.RangeRequest{Key: []byte("/idle")}); err != nil {
			return nil, fmt.Errorf("connection %d: %w", len(held), err)
		}
		held = append(held, conn)
	}
	ready()
	awaitLine()
	working := 0
	for _, conn := range held {
		if _, err := pb.NewKVClient(conn).Range(context.Background(), &pb.RangeRequest{Key: []byte("/idle")}); err == nil {
			working++
		}
		conn.Close()
	}
	return map[string]int{"connections": connections, "working_at_the_end": working}, nil
}

// list reads 100 MB in one answer.
func list(address string) (map[string]int, error) {
	conn, err := dial(address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	kv := pb.NewKVClient(conn)
	for i := range 100 {
		put := &pb.PutRequest{Key: fmt.Appendf(nil, "/list/%03d", i), Value: []byte(strings.Repeat("l", 1_000_000))}
		if _, err := kv.Put(context.Background(), put); err != nil {
			return nil, err
		}
	}
	ready()
	awaitLine()
	bytes := 0
	for range 3 {
		answer, err := kv.Range(context.Background(), &pb.RangeRequest{Key: []byte("/list/"), RangeEnd: []byte("/list0")})
		if err != nil {
			return nil, err
		}
		bytes += answer.Size()
	}
	return map[string]int{"bytes": bytes}, nil
}
