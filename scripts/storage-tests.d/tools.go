//go:build tools

// Package tools names the package whose tests are pinned here. After a change of version: `go get -t
// k8s.io/apiserver/pkg/storage/etcd3/...@VERSION`, and no `go mod tidy`, which drops what only those tests need.
package tools

import _ "k8s.io/apiserver/pkg/storage/etcd3"
