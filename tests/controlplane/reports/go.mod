// Pinned only for the CustomResourceDefinitions of reports: openreports.io's own, and those of
// wgpolicyk8s.io as Kyverno carries them. Nothing of it is compiled.
module plimsoll/controlplane/reports

go 1.26.0

require (
	github.com/kyverno/kyverno v1.15.2
	github.com/openreports/reports-api v0.2.1
)
