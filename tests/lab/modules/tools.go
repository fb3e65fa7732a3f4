//go:build tools

// Package tools names the programs that are built with this module's versions.
package tools

import (
	_ "github.com/containerd/containerd/v2/cmd/containerd"
	_ "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"
	_ "github.com/containerd/containerd/v2/cmd/ctr"
	_ "github.com/rancher/local-path-provisioner"
	_ "sigs.k8s.io/metrics-server/cmd/metrics-server"
)
