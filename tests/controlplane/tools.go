//go:build tools

// Package controlplane only keeps the requirements of go.mod: `go mod tidy` drops what nothing
// imports, and the programs that the harness builds are imported by nothing else.
package controlplane

import (
	_ "go.etcd.io/etcd/server/v3"
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
	_ "k8s.io/kubernetes/cmd/kubectl"
)
