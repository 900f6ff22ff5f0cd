//! How many pods of a workload run: the range it settles in, what a rollout does, what its budgets allow.
//!
//! The arithmetic is Kubernetes' own: `pkg/controller/deployment/util/deployment_util.go` for rollouts,
//! `pkg/controller/disruption/disruption.go` for budgets, `pkg/controller/podautoscaler/horizontal.go`
//! for what an autoscaler does with its target.

use std::sync::Arc;

use crate::facts::{Autoscaler, Budget, RolloutStrategy, Workload};
use crate::object::Count;

/// The fewest and the most replicas that a workload may settle at.
#[derive(Clone, Debug, PartialEq)]
pub struct Range {
    /// The fewest.
    pub floor: i64,
    /// The most.
    pub ceiling: i64,
    /// The autoscaler that sets them; `None` if `spec.replicas` does.
    pub autoscaler: Option<Arc<Autoscaler>>,
}

impl Range {
    /// The range of a workload under the autoscalers that target it.
    ///
    /// At 0 replicas an HPA does nothing until somebody scales the workload up again
    /// (`ScalingDisabled`), so the workload is inactive. With several autoscalers the range is the
    /// union of theirs: what it settles at is undefined, but within that.
    pub fn of(workload: &Workload, autoscalers: &[Arc<Autoscaler>]) -> Self {
        let fixed = Self { floor: workload.replicas, ceiling: workload.replicas, autoscaler: None };
        let Some(lowest) = autoscalers.iter().min_by_key(|a| a.minimum) else { return fixed };
        let disabled = workload.replicas == 0 && lowest.kind == crate::object::Kind::HorizontalPodAutoscaler;
        if disabled {
            return fixed;
        }
        let ceiling = autoscalers.iter().map(|a| a.maximum).max().unwrap_or(lowest.maximum);
        Self { floor: lowest.minimum, ceiling, autoscaler: Some(Arc::clone(lowest)) }
    }

    /// Whether the workload is switched off: nothing to keep available.
    pub fn is_inactive(&self) -> bool {
        self.ceiling == 0
    }
}

/// The most pods that run at once during a rollout of `replicas` pods.
pub fn rollout_peak(strategy: RolloutStrategy, replicas: i64) -> i64 {
    match strategy {
        RolloutStrategy::Ordered | RolloutStrategy::Recreate => replicas,
        RolloutStrategy::Rolling(update) => {
            replicas.saturating_add(update.max_surge.map_or(0, |surge| surge.of_rounded_up(replicas)))
        }
    }
}

/// What a budget does to the pods that it selects, all of them being healthy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Disruption {
    /// How many pods the controller expects.
    pub expected: i64,
    /// How many must stay healthy.
    pub desired: i64,
    /// How many may be evicted.
    pub allowed: i64,
}

impl Disruption {
    /// The arithmetic of `getExpectedPodCount` and `updatePdbStatus` for `pods` healthy pods, all of
    /// them owned by workloads with a scale: percentages of both fields are rounded up, and a budget
    /// with neither field expects nothing and allows nothing.
    pub fn of(budget: &Budget, pods: i64) -> Self {
        let (expected, desired) = match (budget.max_unavailable, budget.min_available) {
            (Some(max), _) => (pods, pods.saturating_sub(max.of_rounded_up(pods)).max(0)),
            (None, Some(Count::Absolute(min))) => (pods, min),
            (None, Some(min @ Count::Percent(_))) => (pods, min.of_rounded_up(pods)),
            (None, None) => (0, 0),
        };
        let allowed = if expected <= 0 { 0 } else { pods.saturating_sub(desired).max(0) };
        Self { expected, desired, allowed }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::object::{Kind, RollingUpdate, ScaleTarget};

    fn workload(replicas: i64) -> Workload {
        Workload {
            kind: Kind::Deployment,
            name: "web".to_owned(),
            uid: String::new(),
            resource_version: String::new(),
            created: None,
            replicas,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            pod_labels: BTreeMap::new(),
            strategy: RolloutStrategy::Recreate,
        }
    }

    fn autoscaler(minimum: i64, maximum: i64) -> Arc<Autoscaler> {
        let target = ScaleTarget { group: "apps".into(), kind: "Deployment".into(), name: "web".into() };
        let annotations = BTreeMap::new();
        let kind = Kind::HorizontalPodAutoscaler;
        Arc::new(Autoscaler { kind, name: "web".into(), target, minimum, maximum, annotations })
    }

    fn range(replicas: i64, autoscalers: &[Arc<Autoscaler>]) -> (i64, i64) {
        let range = Range::of(&workload(replicas), autoscalers);
        (range.floor, range.ceiling)
    }

    #[test]
    fn an_autoscaler_sets_the_range_unless_the_workload_is_at_zero() {
        assert_eq!(range(1, &[]), (1, 1));
        assert_eq!(range(1, &[autoscaler(2, 5)]), (2, 5));
        assert_eq!(range(9, &[autoscaler(2, 5)]), (2, 5));
        assert_eq!(range(0, &[autoscaler(2, 5)]), (0, 0));
        assert_eq!(range(3, &[autoscaler(2, 5), autoscaler(1, 9)]), (1, 9));
    }

    #[test]
    fn a_surge_is_rounded_up() {
        let rolling =
            |surge| RolloutStrategy::Rolling(RollingUpdate { max_surge: Some(surge), max_unavailable: None });
        assert_eq!(rollout_peak(rolling(Count::Percent(25)), 1), 2);
        assert_eq!(rollout_peak(rolling(Count::Percent(25)), 4), 5);
        assert_eq!(rollout_peak(rolling(Count::Absolute(0)), 1), 1);
        assert_eq!(rollout_peak(RolloutStrategy::Recreate, 1), 1);
    }

    fn allowed(min: Option<Count>, max: Option<Count>, pods: i64) -> i64 {
        let annotations = BTreeMap::new();
        let name = "budget".to_owned();
        Disruption::of(
            &Budget { name, selector: None, min_available: min, max_unavailable: max, annotations },
            pods,
        )
        .allowed
    }

    #[test]
    fn budgets_round_both_percentages_up() {
        assert_eq!(allowed(None, Some(Count::Percent(10)), 3), 1);
        assert_eq!(allowed(None, Some(Count::Percent(0)), 3), 0);
        assert_eq!(allowed(Some(Count::Percent(50)), None, 2), 1);
        assert_eq!(allowed(Some(Count::Percent(51)), None, 2), 0);
        assert_eq!(allowed(Some(Count::Absolute(2)), None, 3), 1);
        assert_eq!(allowed(Some(Count::Absolute(3)), None, 3), 0);
        assert_eq!(allowed(Some(Count::Absolute(0)), None, 1), 1);
        assert_eq!(allowed(None, None, 3), 0);
        assert_eq!(allowed(Some(Count::Absolute(0)), None, 0), 0);
    }

    proptest! {
        /// The controller computes in floating point: `ceil(float64(value) * float64(total) / 100)`.
        #[test]
        fn percentages_agree_with_the_controller(percent in 0_i64..=100, pods in 1_i64..10_000) {
            #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "as the controller does")]
            let up = (percent as f64 * pods as f64 / 100.0).ceil() as i64;
            prop_assert_eq!(allowed(None, Some(Count::Percent(percent)), pods), (pods - (pods - up).max(0)).max(0));
            prop_assert_eq!(allowed(Some(Count::Percent(percent)), None, pods), (pods - up).max(0));
        }
    }
}
