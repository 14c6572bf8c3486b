package cpid

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"
)

// What every platform propagates (W3C Baggage, section 3.3.2). kube-apiserver drops the whole header beyond it, and
// also when any member is malformed; of several headers it reads the first.
const (
	maxBaggageBytes   = 8192
	maxBaggageMembers = 64
)

type contextKey struct{}

// NewContext returns a context whose requests, made through a transport of Wrap, carry the CPID.
func NewContext(parent context.Context, cpid string) context.Context {
	return context.WithValue(parent, contextKey{}, cpid)
}

// FromContext returns the CPID of NewContext, or the empty text.
func FromContext(ctx context.Context) string {
	cpid, _ := ctx.Value(contextKey{}).(string)
	return cpid
}

// Wrap returns a transport that adds `baggage: cpid=…` to each request whose context has a CPID. With client-go:
//
//	config.Wrap(cpid.Wrap)
func Wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper{next}
}

type roundTripper struct{ next http.RoundTripper }

// RoundTrip sends the request. One that has no room for the CPID is sent without: tracing never costs a request.
func (r roundTripper) RoundTrip(request *http.Request) (*http.Response, error) {
	cpid := FromContext(request.Context())
	if cpid == "" {
		return r.next.RoundTrip(request)
	}
	baggage, err := WithCPID(strings.Join(request.Header.Values("Baggage"), ","), cpid)
	if err != nil {
		return r.next.RoundTrip(request)
	}
	request = request.Clone(request.Context()) // the caller's must not be changed
	request.Header.Set("Baggage", baggage)
	return r.next.RoundTrip(request)
}

// WithCPID returns the value of a `baggage` header with the member cpid, in place of any it had. Other members stay as
// they are, in their order; malformed ones are left out.
func WithCPID(header, cpid string) (string, error) {
	if cpid == "" {
		return "", errors.New("the CPID is empty")
	}
	// On the way, what is not UTF-8 is replaced by U+FFFD.
	if !utf8.ValidString(cpid) || strings.ContainsRune(cpid, utf8.RuneError) {
		return "", errors.New("the CPID is not UTF-8, or has a U+FFFD in it")
	}
	var members []string
	for _, member := range strings.Split(header, ",") {
		pair, properties, hasProperties := strings.Cut(member, ";")
		key, value, hasValue := splitPair(pair)
		wellFormed := hasValue && isToken(key) && isValue(value) && (!hasProperties || areProperties(properties))
		if wellFormed && key != "cpid" {
			members = append(members, trim(member))
		}
	}
	members = append(members, "cpid="+encode(cpid))
	written := strings.Join(members, ",")
	if len(members) > maxBaggageMembers || len(written) > maxBaggageBytes {
		return "", errors.New("the baggage would be too large")
	}
	return written, nil
}

func trim(text string) string { return strings.Trim(text, " \t") }

func splitPair(pair string) (key, value string, hasValue bool) {
	key, value, hasValue = strings.Cut(pair, "=")
	return trim(key), trim(value), hasValue
}

func areProperties(text string) bool {
	for _, property := range strings.Split(text, ";") {
		key, value, _ := splitPair(property)
		if !isToken(key) || !isValue(value) {
			return false
		}
	}
	return true
}

func isAlphanumeric(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}

func isToken(text string) bool {
	for i := 0; i < len(text); i++ {
		if !isAlphanumeric(text[i]) && strings.IndexByte("!#$%&'*+-.^_`|~", text[i]) < 0 {
			return false
		}
	}
	return text != ""
}

// isBaggageOctet tells printable ASCII but white space, quotes, commas, semicolons and backslashes.
func isBaggageOctet(b byte) bool {
	return b > ' ' && b < 0x7f && strings.IndexByte("\",;\\", b) < 0
}

func isHex(b byte) bool { return strings.IndexByte("0123456789abcdefABCDEF", b) >= 0 }

func isValue(text string) bool {
	for i := 0; i < len(text); i++ {
		if !isBaggageOctet(text[i]) {
			return false
		}
		if text[i] != '%' {
			continue
		}
		if i+2 >= len(text) || !isHex(text[i+1]) || !isHex(text[i+2]) {
			return false
		}
	}
	return true
}

func encode(text string) string {
	var encoded strings.Builder
	for i := 0; i < len(text); i++ {
		if isBaggageOctet(text[i]) && text[i] != '%' {
			encoded.WriteByte(text[i])
		} else {
			fmt.Fprintf(&encoded, "%%%02X", text[i])
		}
	}
	return encoded.String()
}
