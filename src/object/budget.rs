//! PodDisruptionBudgets.

use serde::Deserialize;

use super::{Count, LabelSelector};

/// The spec of a PodDisruptionBudget. It has no defaults: with neither field set it is valid and
/// forbids every eviction.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    /// Which pods. `null` selects nothing, `{}` every pod of the namespace (`API/policy/v1/types.go`).
    pub selector: Option<LabelSelector>,
    /// How many must stay.
    pub min_available: Option<Count>,
    /// How many may go.
    pub max_unavailable: Option<Count>,
}
