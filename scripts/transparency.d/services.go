package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// unary makes one unary call that the generated clients offer as a method.
func unary[Client, Request, Answer any](
	name string, client func(grpc.ClientConnInterface) Client,
	method func(Client, context.Context, *Request, ...grpc.CallOption) (*Answer, error), request *Request,
) behaviour {
	return call(name, func(ctx context.Context, c *grpc.ClientConn, r *Request, o ...grpc.CallOption) (*Answer, error) {
		return method(client(c), ctx, r, o...)
	}, func(*target) *Request { return request })
}

func conn[Client any](make func(*grpc.ClientConn) Client) func(grpc.ClientConnInterface) Client {
	return func(c grpc.ClientConnInterface) Client { return make(c.(*grpc.ClientConn)) }
}

func leases() []behaviour {
	client := conn(pb.NewLeaseClient)
	return []behaviour{
		unary("LeaseGrant", client, pb.LeaseClient.LeaseGrant, &pb.LeaseGrantRequest{ID: 77, TTL: 3660}),
		unary("LeaseGrant of an id that exists", client, pb.LeaseClient.LeaseGrant, &pb.LeaseGrantRequest{ID: 77, TTL: 60}),
		unary("LeaseGrant for too long", client, pb.LeaseClient.LeaseGrant, &pb.LeaseGrantRequest{ID: 78, TTL: 10_000_000_000}),
		put("Put with a lease", &pb.PutRequest{Key: []byte("/leased"), Value: []byte("1"), Lease: 77}),
		behaviour{"LeaseTimeToLive with keys", func(t *target, said *transcript) {
			answer, err := pb.NewLeaseClient(t.conn).LeaseTimeToLive(context.Background(), &pb.LeaseTimeToLiveRequest{ID: 77, Keys: true})
			sayStatus(said, err)
			// What is left of it depends on the moment.
			if err == nil {
				said.say("id %d, granted %d, less is left: %v, keys %q, %v", answer.ID, answer.GrantedTTL, answer.TTL <= answer.GrantedTTL, answer.Keys, answer.Header)
			}
		}},
		unary("LeaseTimeToLive of what does not exist", client, pb.LeaseClient.LeaseTimeToLive, &pb.LeaseTimeToLiveRequest{ID: 4242}),
		unary("LeaseLeases", client, pb.LeaseClient.LeaseLeases, &pb.LeaseLeasesRequest{}),
		{"LeaseKeepAlive, several, then the client closes its side", keepAlive},
		unary("LeaseRevoke", client, pb.LeaseClient.LeaseRevoke, &pb.LeaseRevokeRequest{ID: 77}),
		unary("LeaseRevoke of what does not exist", client, pb.LeaseClient.LeaseRevoke, &pb.LeaseRevokeRequest{ID: 77}),
	}
}

func keepAlive(t *target, said *transcript) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	stream, err := pb.NewLeaseClient(t.conn).LeaseKeepAlive(ctx)
	if err != nil {
		sayStatus(said, err)
		return
	}
	for _, id := range []int64{77, 77, 4242} {
		_ = stream.Send(&pb.LeaseKeepAliveRequest{ID: id})
		answer, err := stream.Recv()
		if err != nil {
			sayStatus(said, err)
			return
		}
		said.say("%v", answer)
	}
	_ = stream.CloseSend()
	_, err = stream.Recv()
	said.say("then: %v; trailers: %s", err, metadataText(stream.Trailer()))
}

func clusterAndMaintenance() []behaviour {
	cluster, maintenance := conn(pb.NewClusterClient), conn(pb.NewMaintenanceClient)
	return []behaviour{
		unary("MemberList", cluster, pb.ClusterClient.MemberList, &pb.MemberListRequest{Linearizable: true}),
		unary("MemberAdd with a URL that is none", cluster, pb.ClusterClient.MemberAdd, &pb.MemberAddRequest{PeerURLs: []string{"nothing"}}),
		unary("MemberRemove of a member that does not exist", cluster, pb.ClusterClient.MemberRemove, &pb.MemberRemoveRequest{ID: 1}),
		unary("MemberUpdate of a member that does not exist", cluster, pb.ClusterClient.MemberUpdate, &pb.MemberUpdateRequest{ID: 1, PeerURLs: []string{"http://127.0.0.1:1"}}),
		unary("MemberPromote of a member that does not exist", cluster, pb.ClusterClient.MemberPromote, &pb.MemberPromoteRequest{ID: 1}),
		{"Status", func(t *target, said *transcript) {
			answer, err := pb.NewMaintenanceClient(t.conn).Status(context.Background(), &pb.StatusRequest{})
			sayStatus(said, err)
			if err == nil {
				// Sizes depend on how writes were batched.
				answer.DbSize, answer.DbSizeInUse = 0, 0
				answer.RaftIndex, answer.RaftAppliedIndex = 0, 0
				said.say("%v", answer)
			}
		}},
		unary("Alarm, listed", maintenance, pb.MaintenanceClient.Alarm, &pb.AlarmRequest{Action: pb.AlarmRequest_GET}),
		unary("Defragment", maintenance, pb.MaintenanceClient.Defragment, &pb.DefragmentRequest{}),
		unary("HashKV", maintenance, pb.MaintenanceClient.HashKV, &pb.HashKVRequest{}),
		unary("HashKV at a future revision", maintenance, pb.MaintenanceClient.HashKV, &pb.HashKVRequest{Revision: 1 << 40}),
		{"Hash", func(t *target, said *transcript) {
			answer, err := pb.NewMaintenanceClient(t.conn).Hash(context.Background(), &pb.HashRequest{})
			sayStatus(said, err)
			// It covers cluster and member ids.
			if err == nil {
				said.say("a hash: %v, %v", answer.Hash != 0, answer.Header)
			}
		}},
		unary("MoveLeader to nobody", maintenance, pb.MaintenanceClient.MoveLeader, &pb.MoveLeaderRequest{TargetID: 1}),
		unary("Downgrade, refused", maintenance, pb.MaintenanceClient.Downgrade, &pb.DowngradeRequest{Action: pb.DowngradeRequest_VALIDATE, Version: "3.0"}),
		{"Snapshot, whose hash matches", snapshot},
	}
}

// snapshot reads a whole snapshot; its last 32 bytes are the SHA-256 of the rest.
func snapshot(t *target, said *transcript) {
	stream, err := pb.NewMaintenanceClient(t.conn).Snapshot(context.Background(), &pb.SnapshotRequest{})
	if err != nil {
		sayStatus(said, err)
		return
	}
	var received bytes.Buffer
	largest, version := 0, ""
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			sayStatus(said, err)
			return
		}
		received.Write(part.Blob)
		largest = max(largest, len(part.Blob))
		version = part.Version
	}
	all := received.Bytes()
	if len(all) < sha256.Size {
		said.say("only %d bytes", len(all))
		return
	}
	sum := sha256.Sum256(all[:len(all)-sha256.Size])
	said.say("hash matches: %v; version %s; largest part %d; over 100 MB: %v; trailers: %s",
		bytes.Equal(sum[:], all[len(all)-sha256.Size:]), version, largest, len(all) > 100_000_000, metadataText(stream.Trailer()))
}

func locksAndElections() []behaviour {
	lock, election := conn(v3lockpb.NewLockClient), conn(v3electionpb.NewElectionClient)
	leader := &v3electionpb.LeaderKey{Name: []byte("e"), Key: []byte("e/64"), Rev: 0, Lease: 100}
	return []behaviour{
		unary("LeaseGrant for a lock", conn(pb.NewLeaseClient), pb.LeaseClient.LeaseGrant, &pb.LeaseGrantRequest{ID: 100, TTL: 600}),
		unary("LeaseGrant for another", conn(pb.NewLeaseClient), pb.LeaseClient.LeaseGrant, &pb.LeaseGrantRequest{ID: 101, TTL: 600}),
		unary("Lock", lock, v3lockpb.LockClient.Lock, &v3lockpb.LockRequest{Name: []byte("l"), Lease: 100}),
		{"Lock that is held, until a deadline", func(t *target, said *transcript) {
			ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
			defer cancel()
			_, err := v3lockpb.NewLockClient(t.conn).Lock(ctx, &v3lockpb.LockRequest{Name: []byte("l"), Lease: 101})
			sayStatus(said, err)
			// etcd removes the waiting key a moment later; what follows is to find it removed.
			awaitCount(t, "l/65", 0)
		}},
		unary("Unlock", lock, v3lockpb.LockClient.Unlock, &v3lockpb.UnlockRequest{Key: []byte("l/64")}),
		unary("Unlock of what is not locked", lock, v3lockpb.LockClient.Unlock, &v3lockpb.UnlockRequest{Key: []byte("none")}),
		unary("Campaign", election, v3electionpb.ElectionClient.Campaign, &v3electionpb.CampaignRequest{Name: []byte("e"), Lease: 100, Value: []byte("one")}),
		{"Campaign that waits, cancelled by the client", func(t *target, said *transcript) {
			ctx, cancel := context.WithCancel(context.Background())
			// The second candidate's key is written before it waits.
			go func() {
				awaitCount(t, "e/65", 1)
				cancel()
			}()
			_, err := v3electionpb.NewElectionClient(t.conn).Campaign(ctx, &v3electionpb.CampaignRequest{Name: []byte("e"), Lease: 101, Value: []byte("two")})
			sayStatus(said, err)
			awaitCount(t, "e/65", 0)
		}},
		unary("Leader", election, v3electionpb.ElectionClient.Leader, &v3electionpb.LeaderRequest{Name: []byte("e")}),
		unary("Leader of no election", election, v3electionpb.ElectionClient.Leader, &v3electionpb.LeaderRequest{Name: []byte("none")}),
		{"Observe", func(t *target, said *transcript) {
			ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
			defer cancel()
			stream, err := v3electionpb.NewElectionClient(t.conn).Observe(ctx, &v3electionpb.LeaderRequest{Name: []byte("e")})
			if err != nil {
				sayStatus(said, err)
				return
			}
			answer, err := stream.Recv()
			said.say("%v %v", answer, err)
		}},
		unary("Proclaim by somebody else", election, v3electionpb.ElectionClient.Proclaim, &v3electionpb.ProclaimRequest{Leader: leader, Value: []byte("x")}),
		unary("Resign by somebody else", election, v3electionpb.ElectionClient.Resign, &v3electionpb.ResignRequest{Leader: leader}),
	}
}

// awaitCount waits until a key exists (1) or does not (0).
func awaitCount(t *target, key string, count int64) {
	kv := pb.NewKVClient(t.conn)
	for {
		answer, err := kv.Range(context.Background(), &pb.RangeRequest{Key: []byte(key), CountOnly: true})
		if err != nil || answer.Count == count {
			return
		}
	}
}

func healthAndUnknown() []behaviour {
	health := conn(func(c *grpc.ClientConn) healthpb.HealthClient { return healthpb.NewHealthClient(c) })
	return []behaviour{
		unary("Health Check", health, healthpb.HealthClient.Check, &healthpb.HealthCheckRequest{}),
		unary("Health Check of an unknown service", health, healthpb.HealthClient.Check, &healthpb.HealthCheckRequest{Service: "none"}),
		{"Health Watch", func(t *target, said *transcript) {
			ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
			defer cancel()
			stream, err := healthpb.NewHealthClient(t.conn).Watch(ctx, &healthpb.HealthCheckRequest{})
			if err != nil {
				sayStatus(said, err)
				return
			}
			answer, err := stream.Recv()
			said.say("%v %v", answer, err)
		}},
		unknown("a method that does not exist", "/etcdserverpb.KV/Invent"),
		unknown("a service that does not exist", "/invented.Service/Method"),
		unknown("a method of a newer etcd, streaming", "/etcdserverpb.KV/RangeStream"),
		unknown("reflection, which etcd does not serve", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"),
		unknown("a path that is no method", "/nothing"),
	}
}

func unknown(name, path string) behaviour {
	return behaviour{"Unknown: " + name, func(t *target, said *transcript) {
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		sayCall(said, func(options ...grpc.CallOption) (any, error) {
			answer := &pb.RangeResponse{}
			err := t.conn.Invoke(ctx, path, &pb.RangeRequest{Key: []byte("/a")}, answer, options...)
			return answer, err
		})
	}}
}

func auth() []behaviour {
	client := conn(pb.NewAuthClient)
	return []behaviour{
		unary("AuthStatus", client, pb.AuthClient.AuthStatus, &pb.AuthStatusRequest{}),
		unary("AuthEnable without root", client, pb.AuthClient.AuthEnable, &pb.AuthEnableRequest{}),
		unary("Authenticate while it is off", client, pb.AuthClient.Authenticate, &pb.AuthenticateRequest{Name: "root", Password: "x"}),
		unary("UserAdd", client, pb.AuthClient.UserAdd, &pb.AuthUserAddRequest{Name: "root", Password: "secret"}),
		unary("UserAdd twice", client, pb.AuthClient.UserAdd, &pb.AuthUserAddRequest{Name: "root", Password: "secret"}),
		unary("UserAdd of a reader", client, pb.AuthClient.UserAdd, &pb.AuthUserAddRequest{Name: "reader", Password: "secret"}),
		unary("RoleAdd", client, pb.AuthClient.RoleAdd, &pb.AuthRoleAddRequest{Name: "root"}),
		unary("RoleGet of what does not exist", client, pb.AuthClient.RoleGet, &pb.AuthRoleGetRequest{Role: "none"}),
		unary("UserGrantRole", client, pb.AuthClient.UserGrantRole, &pb.AuthUserGrantRoleRequest{User: "root", Role: "root"}),
		unary("UserGrantRole of what does not exist", client, pb.AuthClient.UserGrantRole, &pb.AuthUserGrantRoleRequest{User: "root", Role: "none"}),
		unary("UserList", client, pb.AuthClient.UserList, &pb.AuthUserListRequest{}),
		unary("AuthEnable", client, pb.AuthClient.AuthEnable, &pb.AuthEnableRequest{}),
		put("Put without a token", &pb.PutRequest{Key: []byte("/auth"), Value: []byte("1")}),
		unary("Authenticate with a wrong password", client, pb.AuthClient.Authenticate, &pb.AuthenticateRequest{Name: "root", Password: "wrong"}),
		{"Put with a token that is none", withToken("root.42", false)},
		{"Put of a user without permission", as("reader", false)},
		{"Put of root, then AuthDisable", as("root", true)},
		put("Put without a token when auth is off again", &pb.PutRequest{Key: []byte("/auth"), Value: []byte("2")}),
	}
}
