// KEDA, pinned only for the CustomResourceDefinitions in its config/crd/bases. Nothing of it is
// compiled.
module plimsoll/controlplane/keda

go 1.26.0

require github.com/kedacore/keda/v2 v2.21.0
