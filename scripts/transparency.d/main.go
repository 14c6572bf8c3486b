// Command transparency asks two etcds the same things, one directly and one through an interceptor, and compares every
// answer: messages, status codes and texts, headers, trailers, HTTP/2 frames, HTTP/1.1 responses, etcdctl's output.
//
// The etcds are fresh, have the same ids, and are asked one behaviour after the other, so that even revisions and sizes must
// be equal. Only addresses and times are masked. Exit codes: 0 no difference, 1 a difference, 64 wrong usage.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// A behaviour asks an etcd something and writes down what comes back.
type behaviour struct {
	name string
	ask  func(*target, *transcript)
}

// Longest time for one behaviour; what takes longer is a difference if only one side does.
const behaviourTimeout = 30 * time.Second

func main() {
	direct := flag.String("direct", "", "URL of the etcd that is asked directly")
	shim := flag.String("through", "", "URL of the interceptor in front of the other etcd")
	etcdctl := flag.String("etcdctl", "etcdctl", "the etcdctl to run")
	ca := flag.String("cacert", "", "CA of the servers' certificates; makes the connections TLS")
	cert := flag.String("cert", "", "client certificate")
	key := flag.String("key", "", "client key")
	only := flag.String("only", "", "run only behaviours whose name contains this; revisions then differ from a full run")
	verbose := flag.Bool("verbose", false, "print every transcript")
	flag.Parse()
	if *direct == "" || *shim == "" || flag.NArg() != 0 {
		flag.Usage()
		os.Exit(64)
	}
	files := tlsFiles{ca: *ca, cert: *cert, key: *key}
	_, advertised, _ := strings.Cut(*direct, "://")
	ways := [2]*target{}
	for i, url := range []string{*direct, *shim} {
		way, err := newTarget(url, advertised, *etcdctl, files)
		if err != nil {
			fmt.Fprintf(os.Stderr, "error: %s: %v\n", url, err)
			os.Exit(64)
		}
		ways[i] = way
	}

	asked := 0
	var different []string
	fmt.Println("| behaviour | direct | through |")
	fmt.Println("|---|---|---|")
	for _, b := range behaviours() {
		if !strings.Contains(b.name, *only) {
			continue
		}
		asked++
		answers := askBoth(b, ways)
		same := answers[0] == answers[1]
		fmt.Printf("| %s | %s | %s |\n", b.name, summary(answers[0]), verdict(same, answers[1]))
		if *verbose {
			fmt.Fprintf(os.Stderr, "== %s\n%s\n", b.name, answers[0])
		}
		if !same {
			different = append(different, fmt.Sprintf("== %s\n-- directly:\n%s\n-- through:\n%s\n", b.name, answers[0], answers[1]))
		}
	}
	fmt.Printf("\n%d behaviours, %d different\n%s", asked, len(different), strings.Join(different, ""))
	if len(different) != 0 || asked == 0 {
		os.Exit(1)
	}
}

// askBoth asks both sides at the same time, so that what waits for a time-out waits once.
func askBoth(b behaviour, ways [2]*target) [2]string {
	var answers [2]string
	var both sync.WaitGroup
	for i, way := range ways {
		both.Add(1)
		go func() {
			defer both.Done()
			answers[i] = askOne(b, way)
		}()
	}
	both.Wait()
	return answers
}

func askOne(b behaviour, way *target) string {
	said := &transcript{masks: way.masks}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.ask(way, said)
	}()
	select {
	case <-done:
		return said.text()
	case <-time.After(behaviourTimeout):
		return said.text() + "\n(no end after " + behaviourTimeout.String() + ")"
	}
}

// summary is the first line of a transcript, short enough for a table.
func summary(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	line = strings.ReplaceAll(line, "|", "\\|")
	if len(line) > 90 {
		line = line[:87] + "…"
	}
	return line
}

func verdict(same bool, text string) string {
	if same {
		return "the same"
	}
	return "**different**: " + summary(text)
}

// transcript is what one behaviour brought back, line by line.
type transcript struct {
	lock  sync.Mutex
	lines []string
	masks *strings.Replacer
}

func (t *transcript) say(format string, values ...any) {
	t.lock.Lock()
	defer t.lock.Unlock()
	t.lines = append(t.lines, t.masks.Replace(fmt.Sprintf(format, values...)))
}

func (t *transcript) text() string {
	t.lock.Lock()
	defer t.lock.Unlock()
	return strings.Join(t.lines, "\n")
}

type tlsFiles struct{ ca, cert, key string }

func (f tlsFiles) config() (*tls.Config, error) {
	if f.ca == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(f.ca)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", f.ca)
	}
	if f.cert != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}
