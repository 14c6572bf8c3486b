package main

import (
	"context"
	"fmt"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

func rangeOf(name string, request *pb.RangeRequest) behaviour {
	return call(name, func(ctx context.Context, c *grpc.ClientConn, r *pb.RangeRequest, o ...grpc.CallOption) (*pb.RangeResponse, error) {
		return pb.NewKVClient(c).Range(ctx, r, o...)
	}, func(*target) *pb.RangeRequest { return request })
}

func put(name string, request *pb.PutRequest) behaviour {
	return call(name, func(ctx context.Context, c *grpc.ClientConn, r *pb.PutRequest, o ...grpc.CallOption) (*pb.PutResponse, error) {
		return pb.NewKVClient(c).Put(ctx, r, o...)
	}, func(*target) *pb.PutRequest { return request })
}

func deleteRange(name string, request *pb.DeleteRangeRequest) behaviour {
	return call(name, func(ctx context.Context, c *grpc.ClientConn, r *pb.DeleteRangeRequest, o ...grpc.CallOption) (*pb.DeleteRangeResponse, error) {
		return pb.NewKVClient(c).DeleteRange(ctx, r, o...)
	}, func(*target) *pb.DeleteRangeRequest { return request })
}

func txn(name string, request *pb.TxnRequest) behaviour {
	return call(name, func(ctx context.Context, c *grpc.ClientConn, r *pb.TxnRequest, o ...grpc.CallOption) (*pb.TxnResponse, error) {
		return pb.NewKVClient(c).Txn(ctx, r, o...)
	}, func(*target) *pb.TxnRequest { return request })
}

func compact(name string, request *pb.CompactionRequest) behaviour {
	return call(name, func(ctx context.Context, c *grpc.ClientConn, r *pb.CompactionRequest, o ...grpc.CallOption) (*pb.CompactionResponse, error) {
		return pb.NewKVClient(c).Compact(ctx, r, o...)
	}, func(*target) *pb.CompactionRequest { return request })
}

func putOp(key, value string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key), Value: []byte(value)}}}
}

func rangeOp(key string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte(key)}}}
}

func deleteOp(key string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(key)}}}
}

func modIs(key string, revision int64) *pb.Compare {
	return &pb.Compare{
		Result: pb.Compare_EQUAL, Target: pb.Compare_MOD, Key: []byte(key),
		TargetUnion: &pb.Compare_ModRevision{ModRevision: revision},
	}
}

func keyValue() []behaviour {
	const pod = "/registry/pods/default/web"
	manyOps := &pb.TxnRequest{}
	for i := range 129 {
		manyOps.Success = append(manyOps.Success, putOp(fmt.Sprint("/many/", i), "x"))
	}
	all := []behaviour{
		put("Put", &pb.PutRequest{Key: []byte("/a"), Value: []byte("1")}),
		put("Put with prev_kv", &pb.PutRequest{Key: []byte("/a"), Value: []byte("2"), PrevKv: true}),
		put("Put with an empty key", &pb.PutRequest{Value: []byte("1")}),
		put("Put ignore_value on a key that does not exist", &pb.PutRequest{Key: []byte("/none"), IgnoreValue: true}),
		put("Put with a lease that does not exist", &pb.PutRequest{Key: []byte("/a"), Value: []byte("3"), Lease: 4242}),
		put("Put of bytes that are not UTF-8", &pb.PutRequest{Key: []byte("/\xff\xfe\x00"), Value: []byte{0, 1, 2, 255}}),
		put("Put of 1.5 MB", &pb.PutRequest{Key: []byte("/large"), Value: []byte(strings.Repeat("v", 1_500_000))}),
		put("Put larger than etcd takes", &pb.PutRequest{Key: []byte("/large"), Value: []byte(strings.Repeat("v", 1_600_000))}),
		put("Put larger than gRPC takes", &pb.PutRequest{Key: []byte("/large"), Value: []byte(strings.Repeat("v", 3_000_000))}),
		rangeOf("Range of one key", &pb.RangeRequest{Key: []byte("/a")}),
		rangeOf("Range of a key that does not exist", &pb.RangeRequest{Key: []byte("/none")}),
		rangeOf("Range of everything, sorted, limited", &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Limit: 2, SortOrder: pb.RangeRequest_DESCEND, SortTarget: pb.RangeRequest_MOD, KeysOnly: true}),
		rangeOf("Range count_only", &pb.RangeRequest{Key: []byte("/"), RangeEnd: []byte("0"), CountOnly: true}),
		rangeOf("Range serializable", &pb.RangeRequest{Key: []byte("/a"), Serializable: true}),
		rangeOf("Range at an old revision", &pb.RangeRequest{Key: []byte("/a"), Revision: 2}),
		rangeOf("Range at a future revision", &pb.RangeRequest{Key: []byte("/a"), Revision: 1 << 40}),
		rangeOf("Range by modification", &pb.RangeRequest{Key: []byte("/"), RangeEnd: []byte("0"), MinModRevision: 3, MaxModRevision: 4}),
		rangeOf("Range with an empty key", &pb.RangeRequest{}),
		rangeOf("Range of 1.5 MB", &pb.RangeRequest{Key: []byte("/large")}),
		txn("Txn of a create, as kube-apiserver's", &pb.TxnRequest{Compare: []*pb.Compare{modIs(pod, 0)}, Success: []*pb.RequestOp{putOp(pod, "k8s")}}),
		txn("Txn of a create that exists", &pb.TxnRequest{Compare: []*pb.Compare{modIs(pod, 0)}, Success: []*pb.RequestOp{putOp(pod, "k8s")}}),
		txn("Txn of an update that conflicts, as kube-apiserver's", &pb.TxnRequest{Compare: []*pb.Compare{modIs(pod, 3)}, Success: []*pb.RequestOp{putOp(pod, "new")}, Failure: []*pb.RequestOp{rangeOp(pod)}}),
		txn("Txn of a delete, as kube-apiserver's", &pb.TxnRequest{Compare: []*pb.Compare{modIs("/a", 3)}, Success: []*pb.RequestOp{deleteOp("/a")}, Failure: []*pb.RequestOp{rangeOp("/a")}}),
		txn("Txn within a Txn", &pb.TxnRequest{Success: []*pb.RequestOp{putOp("/outer", "1"), {Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Success: []*pb.RequestOp{putOp("/inner", "1"), rangeOp("/outer")}}}}}}),
		txn("Txn that writes a key twice", &pb.TxnRequest{Success: []*pb.RequestOp{putOp("/twice", "1"), putOp("/twice", "2")}}),
		txn("Txn with more operations than allowed", manyOps),
		txn("Txn without operations", &pb.TxnRequest{}),
		deleteRange("DeleteRange of a prefix with prev_kv", &pb.DeleteRangeRequest{Key: []byte("/inner"), RangeEnd: []byte("/outer\x00"), PrevKv: true}),
		deleteRange("DeleteRange of nothing", &pb.DeleteRangeRequest{Key: []byte("/none")}),
		deleteRange("DeleteRange with an empty key", &pb.DeleteRangeRequest{}),
	}
	all = append(all, behaviour{"Range of 100 MB", largeList},
		compact("Compact", &pb.CompactionRequest{Revision: 4}),
		compact("Compact physically", &pb.CompactionRequest{Revision: 5, Physical: true}),
		compact("Compact what is compacted", &pb.CompactionRequest{Revision: 2}),
		compact("Compact a future revision", &pb.CompactionRequest{Revision: 1 << 40}),
		rangeOf("Range at a compacted revision", &pb.RangeRequest{Key: []byte("/a"), Revision: 2}))
	return all
}

// largeList stores a hundred values of a million bytes and reads them in one answer.
func largeList(t *target, said *transcript) {
	client := pb.NewKVClient(t.conn)
	for i := range 100 {
		value := []byte(strings.Repeat(string(rune('a'+i%26)), 1_000_000))
		if _, err := client.Put(context.Background(), &pb.PutRequest{Key: fmt.Appendf(nil, "/list/%03d", i), Value: value}); err != nil {
			said.say("put %d: %v", i, err)
			return
		}
	}
	answer, err := client.Range(context.Background(), &pb.RangeRequest{Key: []byte("/list/"), RangeEnd: []byte("/list0")})
	sayStatus(said, err)
	if err != nil {
		return
	}
	total := 0
	for i, kv := range answer.Kvs {
		total += len(kv.Value)
		if want := byte('a' + i%26); kv.Value[0] != want || kv.Value[len(kv.Value)-1] != want {
			said.say("value %d is another", i)
		}
	}
	said.say("%d values, %d bytes, header %v", len(answer.Kvs), total, answer.Header)
}
