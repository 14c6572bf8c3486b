// Command live carries CPIDs through writes against a real control plane, and logs each write as a line of JSON, to be
// compared with what Cascade recorded. It deletes what it made.
//
//	live -kubeconfig FILE -namespace NAME
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	typedv1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/clientcmd"

	cpid "cascade/examples/go-carrier"
)

// write is one line of the log: what was written and why.
type write struct {
	Name string `json:"name"`
	Op   string `json:"op"`
	// Carries is the CPID that the object has after the write; empty after a delete.
	Carries string `json:"carries"`
	// Request is the CPID that was sent along with the request.
	Request    string `json:"request"`
	Transition string `json:"transition"`
}

func main() {
	kubeconfig := flag.String("kubeconfig", os.Getenv("KUBECONFIG"), "`file` that says where the cluster is")
	namespace := flag.String("namespace", "default", "`name` of the namespace to write to; it must exist")
	flag.Parse()
	if err := run(context.Background(), *kubeconfig, *namespace); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, kubeconfig, namespace string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.Wrap(cpid.Wrap) // All that a client needs to send CPIDs along.
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	writer := writer{client.CoreV1().ConfigMaps(namespace), json.NewEncoder(os.Stdout)}

	// Two changes from outside, each the root of its own.
	first, err := writer.create(ctx, "first", cpid.NewRoot())
	if err != nil {
		return err
	}
	second, err := writer.create(ctx, "second", cpid.NewRoot())
	if err != nil {
		return err
	}

	// A reconcile because of both: they meet on a third object.
	var sources []cpid.Context
	for _, object := range []*corev1.ConfigMap{first, second} {
		source, found, err := cpid.Read(object.Annotations)
		if err != nil {
			return err
		}
		if found {
			sources = append(sources, source)
		}
	}
	merged, _, mergelog := cpid.Merge(sources, cpid.DefaultKeepAncestors)
	if mergelog == nil {
		return fmt.Errorf("two roots were merged without a mergelog: %v", sources)
	}
	if _, err := writer.create(ctx, "merged", merged); err != nil {
		return err
	}

	// The merged change comes back to the first object; what that one had is among the ancestors.
	again, _, mergelog := cpid.Merge([]cpid.Context{merged, sources[0]}, cpid.DefaultKeepAncestors)
	if mergelog != nil || again.CPID != merged.CPID {
		return fmt.Errorf("an ancestor was merged again: %v", mergelog)
	}
	if err := writer.patch(ctx, "first", again); err != nil {
		return err
	}

	for _, name := range []string{"first", "second", "merged"} {
		if err := writer.delete(ctx, name, merged.CPID); err != nil {
			return err
		}
	}
	return nil
}

type writer struct {
	objects typedv1.ConfigMapInterface
	log     *json.Encoder
}

func (w writer) create(ctx context.Context, name string, carried cpid.Context) (*corev1.ConfigMap, error) {
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}
	annotations, err := cpid.Write(object.Annotations, carried)
	if err != nil {
		return nil, err
	}
	object.Annotations = annotations
	created, err := w.objects.Create(cpid.NewContext(ctx, carried.CPID), object, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	return created, w.log.Encode(write{name, "create", carried.CPID, carried.CPID, "set"})
}

func (w writer) patch(ctx context.Context, name string, carried cpid.Context) error {
	annotations, err := cpid.Write(nil, carried)
	if err != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"annotations": annotations},
		"data":     map[string]string{"reconciled": "true"},
	})
	if err != nil {
		return err
	}
	ctx = cpid.NewContext(ctx, carried.CPID)
	if _, err := w.objects.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return err
	}
	return w.log.Encode(write{name, "update", carried.CPID, carried.CPID, "merge"})
}

func (w writer) delete(ctx context.Context, name, because string) error {
	if err := w.objects.Delete(cpid.NewContext(ctx, because), name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	return w.log.Encode(write{name, "delete", "", because, "end"})
}
