// Package testserver stands in for k8s.io/apiserver/pkg/storage/etcd3/testserver (Go's -overlay puts it there): the
// same embedded etcd, and a cascade-interceptor between it and the tests.
//
// CASCADE_STORAGE_TESTS_INTERCEPTOR names the program, CASCADE_STORAGE_TESTS_TRACES the folder that gets one trace per
// etcd. Without the first, the tests talk to etcd directly.
package testserver

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"
	"google.golang.org/grpc"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
)

const (
	interceptorVariable = "CASCADE_STORAGE_TESTS_INTERCEPTOR"
	tracesVariable      = "CASCADE_STORAGE_TESTS_TRACES"
	startTimeout        = 60 * time.Second
)

var (
	// Ports are found free and used a moment later; nobody else here may look for some in between.
	portsInUse sync.Mutex
	// Numbers the traces: a test can start several etcds.
	traces atomic.Int64
	// What a file name should not hold.
	unfit = regexp.MustCompile(`[^A-Za-z0-9_.-]+`)
)

// NewTestConfig is the configuration of an etcd on free ports, in memory as far as possible, that says nothing but
// errors.
func NewTestConfig(t testing.TB) *embed.Config {
	address := func() []url.URL {
		return []url.URL{{Scheme: "http", Host: "localhost:" + strconv.Itoa(freePort(t))}}
	}
	config := embed.NewConfig()
	config.UnsafeNoFsync = true
	config.ListenPeerUrls = address()
	config.AdvertisePeerUrls = config.ListenPeerUrls
	config.ListenClientUrls = address()
	config.AdvertiseClientUrls = config.ListenClientUrls
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	logger := zaptest.NewLogger(t, zaptest.Level(zapcore.ErrorLevel)).Named("etcd-server")
	config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(logger)
	config.Dir = t.TempDir()
	if err := os.Chmod(config.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return config
}

// RunEtcd starts an etcd, and the interceptor in front of it, and gives a client of the interceptor. Both end with the
// test.
func RunEtcd(t testing.TB, config *embed.Config) *kubernetes.Client {
	t.Helper()
	portsInUse.Lock()
	defer portsInUse.Unlock()
	if config == nil {
		config = NewTestConfig(t)
	}
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Close)
	select {
	case <-etcd.Server.ReadyNotify():
	case <-time.After(startTimeout):
		etcd.Server.Stop()
		t.Fatal("etcd did not start in time")
	}
	go func() {
		if err := <-etcd.Err(); err != nil {
			t.Error(err)
		}
	}()

	endpoints := etcd.Server.Cluster().ClientURLs()
	if program := os.Getenv(interceptorVariable); program != "" {
		endpoints = []string{runInterceptor(t, program, config, etcd.Server.KV().Rev)}
	}
	tls, err := config.ClientTLSInfo.ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.New(clientv3.Config{
		TLS:         tls,
		Endpoints:   endpoints,
		DialTimeout: 10 * time.Second,
		DialOptions: []grpc.DialOption{grpc.WithBlock()},
		Logger:      zaptest.NewLogger(t, zaptest.Level(zapcore.ErrorLevel)).Named("etcd-client"),
	})
	if err != nil {
		t.Fatal(err)
	}
	// Some tests ask these what was called.
	client.KV = storagetesting.NewKVRecorder(client.KV)
	client.Kubernetes = storagetesting.NewKubernetesRecorder(client.Kubernetes)
	return client
}

// runInterceptor puts an interceptor with everything recorded in front of an etcd and returns its URL. When the test
// ends, a file REVISION beside the trace says at which revision etcd was, so that it can be checked that all is there.
func runInterceptor(t testing.TB, program string, config *embed.Config, revision func() int64) string {
	t.Helper()
	name := fmt.Sprintf("%s-%d", unfit.ReplaceAllString(t.Name(), "-"), traces.Add(1))
	folder := filepath.Join(os.Getenv(tracesVariable), name)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	traceDir := filepath.Join(folder, "trace")
	listen, metrics := freeAddress(t), freeAddress(t)
	upstream := config.AdvertiseClientUrls[0]
	arguments := []string{
		"serve", "--listen", listen, "--etcd", upstream.String(), "--trace-dir", traceDir, "--metrics-listen", metrics,
	}
	if tls := config.ClientTLSInfo; upstream.Scheme == "https" {
		// The tests have one pair of certificates; here, as there, it serves on either side.
		arguments = append(arguments,
			"--cert", tls.CertFile, "--key", tls.KeyFile, "--client-ca", tls.TrustedCAFile,
			"--etcd-ca", tls.TrustedCAFile, "--etcd-cert", tls.CertFile, "--etcd-key", tls.KeyFile)
	}
	interceptor := exec.Command(program, arguments...)
	var log bytes.Buffer
	interceptor.Stdout, interceptor.Stderr = &log, &log
	if err := interceptor.Start(); err != nil {
		t.Fatalf("cannot start the interceptor: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- interceptor.Wait() }()
	t.Cleanup(func() {
		last := []byte(strconv.FormatInt(revision(), 10) + "\n")
		if err := os.WriteFile(filepath.Join(folder, "REVISION"), last, 0o600); err != nil {
			t.Error(err)
		}
		if err := interceptor.Process.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("cannot stop the interceptor: %v", err)
		}
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the interceptor failed: %v\n%s", err, log.String())
			}
		case <-time.After(startTimeout):
			_ = interceptor.Process.Kill()
			t.Errorf("the interceptor did not stop:\n%s", log.String())
		}
	})
	waitUntilReady(t, "http://"+metrics+"/readyz", ended, &log)
	return upstream.Scheme + "://" + listen
}

func waitUntilReady(t testing.TB, readyz string, ended <-chan error, log *bytes.Buffer) {
	t.Helper()
	limit, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(limit, http.MethodGet, readyz, nil)
		if err != nil {
			t.Fatal(err)
		}
		if answer, err := http.DefaultClient.Do(request); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case err := <-ended:
			t.Fatalf("the interceptor ended at its start: %v\n%s", err, log.String())
		case <-limit.Done():
			t.Fatal("the interceptor was not ready in time")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// freeAddress is a local address that nobody listens on.
func freeAddress(t testing.TB) string {
	return "localhost:" + strconv.Itoa(freePort(t))
}

func freePort(t testing.TB) int {
	t.Helper()
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatalf("no free port: %v", err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}
