package main

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// withToken puts a key with an auth token, and can switch auth off afterwards.
func withToken(token string, thenDisable bool) func(*target, *transcript) {
	return func(t *target, said *transcript) {
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		if token != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "token", token)
		}
		sayCall(said, func(options ...grpc.CallOption) (any, error) {
			return pb.NewKVClient(t.conn).Put(ctx, &pb.PutRequest{Key: []byte("/auth"), Value: []byte("1")}, options...)
		})
		if thenDisable {
			sayCall(said, func(options ...grpc.CallOption) (any, error) {
				return pb.NewAuthClient(t.conn).AuthDisable(ctx, &pb.AuthDisableRequest{}, options...)
			})
		}
	}
}

// as authenticates as a user and then puts a key with the token.
func as(user string, thenDisable bool) func(*target, *transcript) {
	return func(t *target, said *transcript) {
		answer, err := pb.NewAuthClient(t.conn).Authenticate(context.Background(), &pb.AuthenticateRequest{Name: user, Password: "secret"})
		if err != nil {
			sayStatus(said, err)
			return
		}
		withToken(answer.Token, thenDisable)(t, said)
	}
}
