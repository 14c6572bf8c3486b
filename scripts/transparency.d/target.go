package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// target is one of the two ways to an etcd.
type target struct {
	address string
	url     string
	etcdctl string
	files   tlsFiles
	tls     *tls.Config
	conn    *grpc.ClientConn
	masks   *strings.Replacer
}

// Answers can be as large as etcd sends them.
const maxMessage = 1 << 30

func newTarget(address, advertised, etcdctl string, files tlsFiles) (*target, error) {
	parsed, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	config, err := files.config()
	if err != nil {
		return nil, err
	}
	t := &target{address: parsed.Host, url: address, etcdctl: etcdctl, files: files, tls: config, masks: strings.NewReplacer()}
	if t.conn, err = t.dial(); err != nil {
		return nil, err
	}
	// Their own addresses, and what both advertise, which is the direct one's.
	t.masks = strings.NewReplacer(parsed.Host, "ADDRESS", advertised, "ADDRESS")
	return t, nil
}

// dial opens a connection of its own, as kube-apiserver does per resource.
func (t *target) dial(options ...grpc.DialOption) (*grpc.ClientConn, error) {
	transport := insecure.NewCredentials()
	if t.tls != nil {
		transport = credentials.NewTLS(t.tls.Clone())
	}
	options = append(options, grpc.WithTransportCredentials(transport),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)))
	return grpc.NewClient("passthrough:///"+t.address, options...)
}

// connect opens a bare connection for those who speak HTTP themselves.
func (t *target) connect(protocol string) (net.Conn, error) {
	if t.tls == nil {
		return net.Dial("tcp", t.address)
	}
	config := t.tls.Clone()
	if protocol != "" {
		config.NextProtos = []string{protocol}
	}
	conn, err := tls.Dial("tcp", t.address, config)
	if err != nil {
		return nil, err
	}
	if agreed := conn.ConnectionState().NegotiatedProtocol; agreed != protocol {
		conn.Close()
		return nil, fmt.Errorf("%q was agreed instead of %q", agreed, protocol)
	}
	return conn, nil
}
