package main

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const callTimeout = 10 * time.Second

// call makes one unary call on the target's shared connection and says everything about the answer.
func call[Request, Answer any](
	name string, method func(context.Context, *grpc.ClientConn, *Request, ...grpc.CallOption) (*Answer, error), request func(*target) *Request,
) behaviour {
	return behaviour{name, func(t *target, said *transcript) {
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		sayCall(said, func(options ...grpc.CallOption) (any, error) {
			return method(ctx, t.conn, request(t), options...)
		})
	}}
}

// sayCall says how a unary call went: status, answer, headers and trailers.
func sayCall(said *transcript, do func(...grpc.CallOption) (any, error)) {
	var header, trailer metadata.MD
	answer, err := do(grpc.Header(&header), grpc.Trailer(&trailer))
	sayStatus(said, err)
	if err == nil {
		said.say("%s", clipped(fmt.Sprint(answer)))
	}
	said.say("headers: %s", metadataText(header))
	said.say("trailers: %s", metadataText(trailer))
}

func sayStatus(said *transcript, err error) {
	state := status.Convert(err)
	text := state.Message()
	// Client and server both watch the deadline, and whoever is first makes the text.
	if state.Code() == codes.DeadlineExceeded && (text == "context deadline exceeded" || strings.Contains(text, "RST_STREAM with error code: CANCEL")) {
		text = "(its own deadline)"
	}
	said.say("%s %s", state.Code(), text)
	for _, detail := range state.Details() {
		said.say("detail: %v", detail)
	}
}

// clipped shortens long answers, keeping their length and a piece of both ends.
func clipped(text string) string {
	const end = 2000
	if len(text) <= 2*end {
		return text
	}
	return fmt.Sprintf("%s … %d bytes … %s", text[:end], len(text), text[len(text)-end:])
}

func metadataText(md metadata.MD) string {
	var lines []string
	for key, values := range md {
		// The moment of the answer, which etcd adds when it serves gRPC and HTTP on one TLS port.
		if key == "date" {
			values = []string{"…"}
		}
		lines = append(lines, fmt.Sprintf("%s=%q", key, values))
	}
	sort.Strings(lines)
	return strings.Join(lines, " ")
}
