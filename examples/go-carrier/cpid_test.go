package cpid

import (
	"context"
	"encoding/json"
	"math/rand"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"testing"
)

// cases reads cases that the Rust crate is tested with too.
func cases[T any](t *testing.T, name string) []T {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "cpid", "tests", "cases", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []T
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) == 0 {
		t.Fatal("there are no cases")
	}
	return cases
}

func TestMerge(t *testing.T) {
	type expectation struct {
		Kind     string
		CPID     string
		AncCPIDs []string
		Sources  []string
	}
	type testCase struct {
		Name     string
		Sources  []Context
		Keep     int
		Expected expectation
	}
	for _, c := range cases[testCase](t, "merge") {
		for turn := 0; turn < 10; turn++ {
			rand.Shuffle(len(c.Sources), func(i, j int) { c.Sources[i], c.Sources[j] = c.Sources[j], c.Sources[i] })
			merged, carries, mergelog := Merge(c.Sources, c.Keep)
			found := expectation{Kind: "nothing"}
			if carries {
				found = expectation{Kind: "reuse", CPID: merged.CPID, AncCPIDs: merged.Ancestors}
			}
			if mergelog != nil {
				if mergelog.NewCPID != merged.CPID {
					t.Errorf("%s: the mergelog is of %q, the object carries %q", c.Name, mergelog.NewCPID, merged.CPID)
				}
				found.Kind, found.CPID, found.Sources = "new", "", mergelog.SourceCPIDs
			}
			if len(found.AncCPIDs) == 0 && len(c.Expected.AncCPIDs) == 0 {
				found.AncCPIDs = c.Expected.AncCPIDs // nil or empty
			}
			if !reflect.DeepEqual(found, c.Expected) {
				t.Errorf("%s: %+v, expected %+v", c.Name, found, c.Expected)
			}
		}
	}
}

func TestAnnotation(t *testing.T) {
	type testCase struct {
		Text     string
		Expected json.RawMessage
	}
	for _, c := range cases[testCase](t, "koc") {
		context, found, err := Read(map[string]string{Annotation: c.Text})
		switch string(c.Expected) {
		case "null":
			if found || err != nil {
				t.Errorf("%s: %v, %v", c.Text, context, err)
			}
		case `"malformed"`:
			if found || err == nil {
				t.Errorf("%s: read as %v", c.Text, context)
			}
		default:
			var expected Context
			if err := json.Unmarshal(c.Expected, &expected); err != nil {
				t.Fatal(err)
			}
			if len(context.Ancestors) == 0 {
				context.Ancestors = []string{}
			}
			if !found || err != nil || !reflect.DeepEqual(context, expected) {
				t.Errorf("%s: %v, %v", c.Text, context, err)
			}
			annotations, err := Write(nil, context)
			if err != nil {
				t.Fatal(err)
			}
			again, _, err := Read(annotations)
			if err != nil || !reflect.DeepEqual(again, context) {
				t.Errorf("%s: written and read as %v, %v", c.Text, again, err)
			}
		}
	}
	if _, found, err := Read(nil); found || err != nil {
		t.Errorf("without annotations: %v, %v", found, err)
	}
	before := map[string]string{"other": "stays"}
	if after, err := Write(before, Context{}); err == nil || len(after) != 1 {
		t.Errorf("what is not valid was written: %v", after)
	}
	written, err := Write(before, Context{CPID: "c"})
	if err != nil || written["other"] != "stays" || written[Annotation] != `{"cpid":"c","ancCpids":[]}` {
		t.Errorf("%v, %v", written, err)
	}
}

func TestRoot(t *testing.T) {
	uuid := regexp.MustCompile("^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
	first, second := NewRoot(), NewRoot()
	if !uuid.MatchString(first.CPID) || first.CPID == second.CPID || first.Validate() != nil {
		t.Errorf("%v, %v", first, second)
	}
}

func TestBaggage(t *testing.T) {
	type testCase struct{ Header, CPID, Expected string }
	for _, c := range cases[testCase](t, "baggage") {
		written, err := WithCPID(c.Header, c.CPID)
		if err != nil {
			written = "malformed"
		}
		if written != c.Expected {
			t.Errorf("%s: %s, expected %s", c.Header, written, c.Expected)
		}
	}
}

func TestRoundTripper(t *testing.T) {
	var received []string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		received = request.Header.Values("Baggage")
	}))
	defer server.Close()
	client := http.Client{Transport: Wrap(http.DefaultTransport)}
	send := func(ctx context.Context, baggage ...string) *http.Request {
		request, err := http.NewRequestWithContext(ctx, http.MethodDelete, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, value := range baggage {
			request.Header.Add("Baggage", value)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return request
	}
	traced := NewContext(context.Background(), "c d")

	request := send(traced, "a=1", "cpid=old", "b=2;p")
	if !reflect.DeepEqual(received, []string{"a=1,b=2;p,cpid=c%20d"}) {
		t.Errorf("received %q", received)
	}
	if len(request.Header.Values("Baggage")) != 3 {
		t.Errorf("the caller's request was changed: %q", request.Header)
	}
	send(traced)
	if !reflect.DeepEqual(received, []string{"cpid=c%20d"}) {
		t.Errorf("received %q", received)
	}
	send(context.Background(), "a=1")
	if !reflect.DeepEqual(received, []string{"a=1"}) {
		t.Errorf("without a CPID received %q", received)
	}
	// No room: the request goes out as it is.
	long := string(make([]byte, maxBaggageBytes))
	send(NewContext(context.Background(), long), "a=1")
	if !reflect.DeepEqual(received, []string{"a=1"}) {
		t.Errorf("without room received %q", received)
	}
}
