//go:build tools

// Package helm only keeps the requirement of go.mod: `go mod tidy` drops what nothing imports.
package helm

import _ "helm.sh/helm/v4/cmd/helm"
