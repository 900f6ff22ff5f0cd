//! How many pods of a workload run: the range it settles in, what a rollout does, what its budgets allow.
//!
//! Computed once for a workload; the rules are predicates over it. The arithmetic is Kubernetes' own:
//! `pkg/controller/deployment/util/deployment_util.go` and
//! `pkg/controller/statefulset/stateful_set_utils.go` for rollouts,
//! `pkg/controller/disruption/disruption.go` for budgets, `pkg/controller/podautoscaler/horizontal.go`
//! and KEDA's `pkg/scaling/executor/scale_scaledobjects.go` for what an autoscaler does with its target.

use std::sync::Arc;

use crate::facts::{Autoscaler, Budget, Pause, RolloutStrategy, Workload};
use crate::object::{Count, Kind, RollingUpdate};

/// How many pods of a workload run.
#[derive(Clone, Debug, PartialEq)]
pub struct Availability {
    /// The fewest replicas that it may settle at.
    pub floor: i64,
    /// The most replicas that it may settle at.
    pub ceiling: i64,
    /// The fewest pods that are available during a rollout at the floor, all of them having been before.
    pub trough: i64,
    /// The most pods that run at once during a rollout at the ceiling.
    pub peak: i64,
    /// The autoscaler that sets the floor; `None` if `spec.replicas` does.
    pub autoscaler: Option<Arc<Autoscaler>>,
}

impl Availability {
    /// The availability of a workload under the autoscalers that target it.
    ///
    /// With several autoscalers the range is the union of theirs: what the workload settles at is
    /// undefined, but within that.
    pub fn of(workload: &Workload, autoscalers: &[Arc<Autoscaler>]) -> Self {
        let ranges = autoscalers.iter().filter_map(|a| Some((range_under(a, workload.replicas)?, a)));
        let ranges: Vec<_> = ranges.collect();
        let lowest = ranges.iter().min_by_key(|((floor, _), _)| *floor);
        let floor = lowest.map_or(workload.replicas, |((floor, _), _)| *floor);
        let ceiling = ranges.iter().map(|((_, ceiling), _)| *ceiling).max().unwrap_or(workload.replicas);
        Self {
            floor,
            ceiling,
            trough: Rollout::of(workload.strategy, floor).trough,
            peak: Rollout::of(workload.strategy, ceiling).peak,
            autoscaler: lowest.map(|(_, autoscaler)| Arc::clone(autoscaler)),
        }
    }

    /// The fewest pods that run while any do: KEDA starts from 0 with the minimum of its HPA.
    pub fn fewest_running(&self) -> i64 {
        match &self.autoscaler {
            Some(autoscaler) if self.floor == 0 && !self.is_inactive() => autoscaler.active_minimum,
            _ => self.floor,
        }
    }

    /// Whether the workload is switched off: nothing to keep available.
    pub fn is_inactive(&self) -> bool {
        self.ceiling == 0
    }
}

/// The range in which an autoscaler keeps a workload that has so many replicas now; `None` if it lets
/// it be.
///
/// At 0 an HPA does nothing until somebody scales the workload up again (`ScalingDisabled`); KEDA
/// does. A paused ScaledObject lets the workload be, once it has set the count that it was told.
fn range_under(autoscaler: &Autoscaler, replicas: i64) -> Option<(i64, i64)> {
    match (autoscaler.pause, autoscaler.kind) {
        (Some(Pause::AsIs), _) => None,
        (Some(Pause::At(count)), _) => (count == replicas).then_some((count, count)),
        (None, Kind::HorizontalPodAutoscaler) if replicas == 0 => None,
        (None, _) => Some((autoscaler.minimum, autoscaler.maximum)),
    }
}

/// How many pods run during a rollout.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rollout {
    /// The fewest that are available, all of them having been before.
    pub trough: i64,
    /// The most that run at once, those that are still terminating left out.
    pub peak: i64,
}

impl Rollout {
    /// A rollout of so many replicas.
    pub fn of(strategy: RolloutStrategy, replicas: i64) -> Self {
        let replicas = replicas.max(0);
        let (surge, unavailable) = match strategy {
            RolloutStrategy::OnDelete => (0, 0),
            RolloutStrategy::Recreate => (0, replicas),
            RolloutStrategy::Rolling(update) => fenceposts(update, replicas),
            // `getStatefulSetMaxUnavailable`: 1 unless it says more, and at least 1. What lies below
            // the partition keeps running.
            RolloutStrategy::Ordered(update) => {
                let max = update.max_unavailable.unwrap_or(Count::Absolute(1)).of_rounded_down(replicas);
                (0, max.max(1).min(replicas.saturating_sub(update.partition).max(0)))
            }
        };
        let unavailable = unavailable.clamp(0, replicas);
        Self { trough: replicas - unavailable, peak: replicas.saturating_add(surge.max(0)) }
    }
}

/// `ResolveFenceposts`: a surge is rounded up, what may be unavailable down, and if both come to
/// nothing one pod may be unavailable, since nothing would ever move. The caller's API defaults are in.
fn fenceposts(update: RollingUpdate, replicas: i64) -> (i64, i64) {
    let surge = update.max_surge.map_or(0, |surge| surge.of_rounded_up(replicas));
    let unavailable = update.max_unavailable.map_or(0, |max| max.of_rounded_down(replicas));
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
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

    /// The fewest pods of which a budget lets one go; `None` if it never does.
    pub fn fewest_pods(budget: &Budget) -> Option<i64> {
        match (budget.max_unavailable, budget.min_available) {
            (Some(Count::Absolute(max) | Count::Percent(max)), _) => (max > 0).then_some(1),
            (None, Some(Count::Absolute(min))) => Some(min.max(0).saturating_add(1)),
            // One pod is free as soon as the rest of the percentage makes up a whole one.
            (None, Some(Count::Percent(min))) => {
                let free = 100_i64.saturating_sub(min);
                (free > 0).then(|| 99_i64.saturating_add(free) / free)
            }
            (None, None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::object::{Labels, OrderedUpdate, ScaleTarget};

    fn workload(replicas: i64, strategy: RolloutStrategy) -> Workload {
        Workload {
            kind: Kind::Deployment,
            name: "web".to_owned(),
            uid: String::new(),
            resource_version: String::new(),
            created: None,
            replicas,
            labels: Labels::default(),
            annotations: Labels::default(),
            pod_labels: Labels::default(),
            strategy,
            is_managed: false,
            claims: Box::default(),
            is_spread: false,
            without_requests: Box::default(),
        }
    }

    fn autoscaler(kind: Kind, minimum: i64, maximum: i64, pause: Option<Pause>) -> Arc<Autoscaler> {
        let target = ScaleTarget { group: "apps".into(), kind: "Deployment".into(), name: "web".into() };
        Arc::new(Autoscaler {
            kind,
            name: "web".into(),
            uid: String::new(),
            made_from: None,
            target,
            minimum,
            active_minimum: minimum,
            maximum,
            pause,
            takes_over: None,
            utilization: Box::default(),
            annotations: Labels::default(),
        })
    }

    fn horizontal(minimum: i64, maximum: i64) -> Arc<Autoscaler> {
        autoscaler(Kind::HorizontalPodAutoscaler, minimum, maximum, None)
    }

    fn scaled(minimum: i64, maximum: i64, pause: Option<Pause>) -> Arc<Autoscaler> {
        autoscaler(Kind::ScaledObject, minimum, maximum, pause)
    }

    fn range(replicas: i64, autoscalers: &[Arc<Autoscaler>]) -> (i64, i64) {
        let of = Availability::of(&workload(replicas, RolloutStrategy::Recreate), autoscalers);
        (of.floor, of.ceiling)
    }

    #[test]
    fn an_autoscaler_sets_the_range_unless_the_workload_is_at_zero() {
        assert_eq!(range(1, &[]), (1, 1));
        assert_eq!(range(1, &[horizontal(2, 5)]), (2, 5));
        assert_eq!(range(9, &[horizontal(2, 5)]), (2, 5));
        assert_eq!(range(0, &[horizontal(2, 5)]), (0, 0));
        assert_eq!(range(3, &[horizontal(2, 5), horizontal(1, 9)]), (1, 9));
    }

    #[test]
    fn keda_starts_what_is_at_zero_unless_it_is_paused() {
        assert_eq!(range(0, &[scaled(2, 5, None)]), (2, 5));
        assert_eq!(range(0, &[scaled(2, 5, None), horizontal(1, 9)]), (2, 5), "the HPA lets it be");
        assert_eq!(range(3, &[scaled(0, 5, Some(Pause::AsIs))]), (3, 3));
        assert_eq!(range(4, &[scaled(0, 5, Some(Pause::At(4)))]), (4, 4));
        assert_eq!(range(1, &[scaled(2, 5, Some(Pause::At(4)))]), (1, 1), "somebody scaled it since");
        let off =
            Availability::of(&workload(0, RolloutStrategy::Recreate), &[scaled(2, 5, Some(Pause::At(0)))]);
        assert!(off.is_inactive() && off.autoscaler.is_some());
    }

    fn rolling(max_surge: Count, max_unavailable: Count) -> RolloutStrategy {
        let (max_surge, max_unavailable) = (Some(max_surge), Some(max_unavailable));
        RolloutStrategy::Rolling(RollingUpdate { max_surge, max_unavailable })
    }

    fn rollout(strategy: RolloutStrategy, replicas: i64) -> (i64, i64) {
        let Rollout { trough, peak } = Rollout::of(strategy, replicas);
        (trough, peak)
    }

    #[test]
    fn a_rollout_rounds_the_surge_up_and_what_is_unavailable_down() {
        use Count::{Absolute, Percent};
        assert_eq!(rollout(rolling(Percent(25), Percent(25)), 1), (1, 2));
        assert_eq!(rollout(rolling(Percent(25), Percent(25)), 4), (3, 5));
        assert_eq!(rollout(rolling(Percent(1), Percent(0)), 2), (2, 3));
        assert_eq!(rollout(rolling(Absolute(0), Percent(1)), 2), (1, 2), "both come to 0");
        assert_eq!(rollout(rolling(Absolute(0), Absolute(9)), 3), (0, 3), "no more than there are");
        assert_eq!(rollout(rolling(Percent(200), Absolute(0)), 3), (3, 9));
        assert_eq!(rollout(RolloutStrategy::Recreate, 3), (0, 3));
        assert_eq!(rollout(RolloutStrategy::OnDelete, 3), (3, 3));
    }

    #[test]
    fn a_stateful_set_goes_down_one_by_one_and_never_up() {
        let ordered = |partition, max_unavailable| {
            RolloutStrategy::Ordered(OrderedUpdate { partition, max_unavailable })
        };
        assert_eq!(rollout(ordered(0, None), 3), (2, 3));
        assert_eq!(rollout(ordered(0, Some(Count::Percent(10))), 3), (2, 3), "at least one");
        assert_eq!(rollout(ordered(0, Some(Count::Absolute(5))), 3), (0, 3));
        assert_eq!(rollout(ordered(2, Some(Count::Absolute(3))), 3), (2, 3), "only the last one is updated");
        assert_eq!(rollout(ordered(7, None), 3), (3, 3));
    }

    #[test]
    fn the_trough_is_at_the_floor_and_the_peak_at_the_ceiling() {
        let of = Availability::of(
            &workload(4, rolling(Count::Percent(50), Count::Percent(50))),
            &[horizontal(2, 8)],
        );
        assert_eq!((of.trough, of.floor, of.ceiling, of.peak), (1, 2, 8, 12));
    }

    fn budget(min_available: Option<Count>, max_unavailable: Option<Count>) -> Budget {
        let name = "budget".to_owned();
        Budget { name, selector: None, min_available, max_unavailable, annotations: Labels::default() }
    }

    fn allowed(min: Option<Count>, max: Option<Count>, pods: i64) -> i64 {
        Disruption::of(&budget(min, max), pods).allowed
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

    fn counts() -> impl Strategy<Value = Count> {
        prop_oneof![(0_i64..50).prop_map(Count::Absolute), (0_i64..=100).prop_map(Count::Percent)]
    }

    fn strategies() -> impl Strategy<Value = RolloutStrategy> {
        let surges =
            prop_oneof![(0_i64..50).prop_map(Count::Absolute), (0_i64..=300).prop_map(Count::Percent)];
        let ordered = (0_i64..50, proptest::option::of(counts())).prop_map(|(partition, max_unavailable)| {
            RolloutStrategy::Ordered(OrderedUpdate { partition, max_unavailable })
        });
        prop_oneof![
            Just(RolloutStrategy::Recreate),
            Just(RolloutStrategy::OnDelete),
            (surges, counts()).prop_map(|(surge, unavailable)| rolling(surge, unavailable)),
            ordered,
        ]
    }

    /// `intstr.GetScaledValueFromIntOrPercent`: in floating point, as the controllers compute.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "as the controllers do")]
    fn scaled_value(count: Count, total: i64, round_up: bool) -> i64 {
        match count {
            Count::Absolute(count) => count,
            Count::Percent(percent) => {
                let value = percent as f64 * total as f64 / 100.0;
                (if round_up { value.ceil() } else { value.floor() }) as i64
            }
        }
    }

    /// `getExpectedPodCount` and `updatePdbStatus`, line by line, for pods of one healthy workload.
    fn disruptions_allowed(min: Option<Count>, max: Option<Count>, pods: i64) -> i64 {
        let (mut expected, mut desired) = (0, 0);
        if let Some(max) = max {
            expected = pods;
            desired = expected - scaled_value(max, expected, true);
            if desired < 0 {
                desired = 0;
            }
        } else if let Some(min) = min {
            expected = pods;
            desired = scaled_value(min, expected, true);
        }
        let allowed = pods - desired;
        if expected <= 0 || allowed <= 0 { 0 } else { allowed }
    }

    proptest! {
        #[test]
        fn budgets_agree_with_the_controller(
            min in proptest::option::of(counts()),
            max in proptest::option::of(counts()),
            pods in 0_i64..5_000,
        ) {
            // The API takes no budget with both.
            let min = min.filter(|_| max.is_none());
            prop_assert_eq!(allowed(min, max, pods), disruptions_allowed(min, max, pods));
        }

        #[test]
        fn the_fewest_pods_are_the_fewest(min in counts(), max in counts(), by_max: bool) {
            let budget = if by_max { budget(None, Some(max)) } else { budget(Some(min), None) };
            let found = (1..=200).find(|pods| Disruption::of(&budget, *pods).allowed > 0);
            prop_assert_eq!(Disruption::fewest_pods(&budget), found);
        }

        #[test]
        fn more_pods_never_allow_fewer_disruptions(min in counts(), pods in 0_i64..500) {
            prop_assert!(allowed(Some(min), None, pods) <= allowed(Some(min), None, pods + 1));
            prop_assert!(allowed(None, Some(min), pods) <= allowed(None, Some(min), pods + 1));
        }

        #[test]
        fn a_rollout_stays_around_the_count(strategy in strategies(), replicas in 0_i64..500) {
            let (trough, peak) = rollout(strategy, replicas);
            prop_assert!((0..=replicas).contains(&trough) && replicas <= peak);
            // What the floor and the ceiling stand for: in between is no deeper trough and no higher peak.
            let (next_trough, next_peak) = rollout(strategy, replicas + 1);
            let keeps_none = matches!(strategy, RolloutStrategy::Recreate);
            prop_assert!(keeps_none || trough <= next_trough);
            prop_assert!(peak <= next_peak);
        }

        #[test]
        fn a_rolling_update_agrees_with_the_controller(
            surge in counts(), unavailable in counts(), replicas in 1_i64..2_000,
        ) {
            let (mut up, mut down) = (scaled_value(surge, replicas, true), scaled_value(unavailable, replicas, false));
            if up == 0 && down == 0 {
                (up, down) = (0, 1);
            }
            let expected = (replicas - down.min(replicas), replicas + up);
            prop_assert_eq!(rollout(rolling(surge, unavailable), replicas), expected);
            // It moves: a rollout that may neither add nor take a pod would stand still.
            prop_assert!(expected.0 < replicas || expected.1 > replicas);
        }

        /// Whatever the autoscalers, what they set lies in the range, and the trough and peak around it.
        #[test]
        fn a_range_is_in_order(
            replicas in 0_i64..20,
            strategy in strategies(),
            autoscalers in proptest::collection::vec((any::<bool>(), 0_i64..5, 1_i64..9, 0_u8..3, 0_i64..4), 0..3),
        ) {
            let autoscalers: Vec<_> = autoscalers.into_iter().map(|(keda, minimum, more, pause, at)| {
                let pause = match pause { 0 => None, 1 => Some(Pause::AsIs), _ => Some(Pause::At(at)) };
                if keda { scaled(minimum, minimum + more, pause) } else { horizontal(minimum.max(1), minimum + more) }
            }).collect();
            let of = Availability::of(&workload(replicas, strategy), &autoscalers);
            prop_assert!(0 <= of.trough && of.trough <= of.floor && of.floor <= of.ceiling && of.ceiling <= of.peak);
            if of.autoscaler.is_none() {
                prop_assert_eq!((of.floor, of.ceiling), (replicas, replicas));
            }
        }
    }
}
