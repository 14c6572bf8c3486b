package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"sort"
	"strings"
	"time"
)

// http1 is what etcd serves over HTTP/1.1 on the same port.
func http1() []behaviour {
	return []behaviour{
		requests("GET /health", request("GET", "/health", "")),
		requests("GET /livez and /readyz on one connection", request("GET", "/livez", ""), request("GET", "/readyz?verbose", "")),
		requests("GET /version", request("GET", "/version", "")),
		requests("GET /metrics", request("GET", "/metrics", "")),
		requests("HEAD /health", request("HEAD", "/health", "")),
		requests("a path that does not exist", request("GET", "/none", "")),
		requests("the JSON gateway: range", request("POST", "/v3/kv/range", `{"key": "L25vbmU="}`)),
		requests("the JSON gateway: what is not JSON", request("POST", "/v3/kv/put", `{`)),
		requests("the JSON gateway: an error of etcd", request("POST", "/v3/kv/put", `{"value": "YQ=="}`)),
		requests("a body in chunks", "POST /v3/kv/range HTTP/1.1\r\nHost: etcd\r\nTransfer-Encoding: chunked\r\n\r\n13\r\n{\"key\": \"L25vbmU=\"}\r\n0\r\n\r\n"),
		requests("HTTP/1.0", "GET /version HTTP/1.0\r\n\r\n"),
		requests("what is no HTTP", "hello\r\n\r\n"),
	}
}

func request(method, path, body string) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: etcd\r\nContent-Length: %d\r\n\r\n%s", method, path, len(body), body)
}

// requests sends raw requests one after the other on one connection.
func requests(name string, all ...string) behaviour {
	return behaviour{"HTTP/1.1: " + name, func(t *target, said *transcript) {
		conn, err := t.connect("")
		if err != nil {
			said.say("%v", err)
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(callTimeout))
		reader := bufio.NewReader(conn)
		for _, text := range all {
			_, _ = io.WriteString(conn, text)
			method, _, _ := strings.Cut(text, " ")
			answer, err := http.ReadResponse(reader, &http.Request{Method: method})
			if err != nil {
				said.say("no answer: %v", err)
				return
			}
			body, err := io.ReadAll(answer.Body)
			sayAnswer(said, text, answer, body, err)
		}
	}}
}

func sayAnswer(said *transcript, asked string, answer *http.Response, body []byte, err error) {
	var headers []string
	for name, values := range answer.Header {
		switch name {
		case "Date":
			values = []string{"…"}
		case "Content-Length":
			// Metrics never have the same length twice.
			if strings.Contains(asked, "/metrics") {
				values = []string{"…"}
			}
		}
		headers = append(headers, fmt.Sprintf("%s=%q", name, values))
	}
	sort.Strings(headers)
	said.say("%s %s", answer.Proto, answer.Status)
	said.say("%s close=%v encoding=%v", strings.Join(headers, " "), answer.Close, answer.TransferEncoding)
	if strings.Contains(asked, "/metrics") {
		said.say("etcd's metrics: %v, complete: %v", strings.Contains(string(body), "etcd_server_has_leader 1"), err == nil)
		return
	}
	lines := strings.Split(string(body), "\n")
	if strings.Contains(asked, "verbose") {
		// Checks are told in no order.
		sort.Strings(lines)
	}
	said.say("%s %v", clipped(strings.Join(lines, "\n")), err)
}
