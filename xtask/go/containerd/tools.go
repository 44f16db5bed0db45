//go:build tools

// Package containerd names the programs of the cluster lab, so that go.mod and go.sum pin everything they are built from.
package containerd

import (
	_ "github.com/containerd/containerd/v2/cmd/containerd"
	_ "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"
	_ "github.com/containerd/containerd/v2/cmd/ctr"
)
