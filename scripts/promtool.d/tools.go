//go:build tools

// Package tools names the programs this module pins, so that `go mod tidy` keeps them.
package tools

import (
	_ "github.com/prometheus/prometheus/cmd/promtool"
)
