// Package cpid lets a controller written in Go carry Change Propagation IDs (CPIDs, arXiv:2411.01336): on the objects
// it writes, and along with its requests. It needs nothing but the standard library.
//
// What an object carries stands in an annotation; Read and Write are its text. Merge decides what an object carries
// that is written because of others. Wrap sends the CPID along with each request, which reaches deletions too.
//
// The rules are those of the Rust crate cascade-cpid, and both are tested with the same cases.
package cpid

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
)

// Annotation is the key of the annotation of arXiv:2411.01336.
const Annotation = "eppppi.github.io/koc"

// DefaultKeepAncestors is how many ancestors the authors' prototype keeps on an object.
const DefaultKeepAncestors = 10

// Context is what an object carries.
type Context struct {
	// CPID is any text but the empty one.
	CPID string `json:"cpid"`
	// Ancestors are CPIDs that it came from, newest first; a hint that may be cut at any length.
	Ancestors []string `json:"ancCpids"`
}

// NewRoot returns a context for a change that nothing in the cluster has caused. Post a mergelog without sources for it.
func NewRoot() Context {
	return Context{CPID: newCPID()}
}

// newCPID returns a random UUID (version 4).
func newCPID() string {
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		panic(err) // The system has no randomness: nothing that needs TLS works either.
	}
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[0:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// Validate returns why the context is no source of a merge, or nil.
func (c Context) Validate() error {
	if c.CPID == "" {
		return errors.New("the CPID is empty")
	}
	for _, ancestor := range c.Ancestors {
		if ancestor == c.CPID {
			return errors.New("the CPID is among its own ancestors")
		}
	}
	return nil
}

// check returns why the context must not stand in an annotation, or nil.
func (c Context) check() error {
	for _, ancestor := range c.Ancestors {
		if ancestor == "" {
			return errors.New("an ancestor is empty")
		}
	}
	return c.Validate()
}

// Read returns what an object with these annotations carries, and whether it carries a CPID. Of a malformed annotation
// it returns an error and no part.
func Read(annotations map[string]string) (Context, bool, error) {
	text, found := annotations[Annotation]
	if !found {
		return Context{}, false, nil
	}
	// A pointer, because encoding/json takes null for any object.
	var read *Context
	if err := json.Unmarshal([]byte(text), &read); err != nil {
		return Context{}, false, fmt.Errorf("annotation %s: %w", Annotation, err)
	}
	if read == nil {
		return Context{}, false, fmt.Errorf("annotation %s: not an object", Annotation)
	}
	if read.CPID == "" {
		return Context{}, false, nil
	}
	if err := read.check(); err != nil {
		return Context{}, false, fmt.Errorf("annotation %s: %w", Annotation, err)
	}
	return *read, true, nil
}

// Write puts the context into an object's annotations and returns them; nil annotations are made. Objects from a
// lister are shared with the cache: copy them first.
func Write(annotations map[string]string, context Context) (map[string]string, error) {
	if err := context.check(); err != nil {
		return annotations, err
	}
	if context.Ancestors == nil {
		context.Ancestors = []string{} // [] and not null
	}
	text, err := json.Marshal(context)
	if err != nil {
		return annotations, err
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[Annotation] = string(text)
	return annotations, nil
}
