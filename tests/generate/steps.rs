//! Things that people do to a Deployment `web`, to what scales it and to what budgets it.

use plimsoll::object::Kind;
use proptest::prelude::*;
use serde_json::{Value, json};

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Workload { replicas: i64, recreate: bool, surge: i64, singleton: bool, claim: bool, waived: bool },
    Scale(i64),
    Autoscaler(i64, i64),
    ScaledObject { minimum: i64, more: i64, idle: Option<i64>, paused: Option<i64> },
    Budget { which: bool, minimum: bool, count: Value, everybody: bool },
}

impl Step {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Workload { .. } | Self::Scale(_) => Kind::Deployment,
            Self::Autoscaler(..) => Kind::HorizontalPodAutoscaler,
            Self::ScaledObject { .. } => Kind::ScaledObject,
            Self::Budget { .. } => Kind::PodDisruptionBudget,
        }
    }

    /// The object as this step would have it stored.
    pub(crate) fn object(&self) -> Value {
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
        let (metadata, spec) = match self {
            Self::Workload { replicas, recreate, surge, singleton, claim, waived } => {
                let strategy = match recreate {
                    true => json!({"type": "Recreate"}),
                    false => {
                        let update = json!({"maxSurge": surge, "maxUnavailable": 1});
                        json!({"type": "RollingUpdate", "rollingUpdate": update})
                    }
                };
                let volumes = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
                let pod = if *claim { json!({"volumes": volumes}) } else { json!({}) };
                let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": pod});
                let mut annotations = json!({});
                if *singleton {
                    annotations["plimsoll.dev/singleton"] = "true".into();
                }
                if *waived {
                    let waiver = "{owner: a@example.com, reason: internal tool only, expires: 2400-12-31}";
                    for rule in ["disruption-budget", "min-replicas"] {
                        annotations[format!("waiver.plimsoll.dev/{rule}")] = waiver.into();
                    }
                }
                let metadata = json!({"name": "web", "annotations": annotations});
                (metadata, json!({"replicas": replicas, "strategy": strategy, "template": template}))
            }
            Self::Scale(replicas) => (json!({"name": "web"}), json!({"replicas": replicas})),
            Self::Autoscaler(minimum, more) => (
                json!({"name": "web"}),
                json!({"scaleTargetRef": target, "minReplicas": minimum, "maxReplicas": minimum + more}),
            ),
            Self::ScaledObject { minimum, more, idle, paused } => {
                let count = paused.map(|count| count.to_string());
                let annotations = json!({"autoscaling.keda.sh/paused-replicas": count});
                let annotations = if paused.is_some() { annotations } else { json!({}) };
                let spec = json!({"scaleTargetRef": target, "minReplicaCount": minimum,
                    "maxReplicaCount": minimum + more, "idleReplicaCount": idle});
                (json!({"name": "web", "annotations": annotations}), spec)
            }
            Self::Budget { which, minimum, count, everybody } => {
                let field = if *minimum { "minAvailable" } else { "maxUnavailable" };
                let selector = if *everybody { json!({}) } else { json!({"matchLabels": {"app": "web"}}) };
                let name = format!("budget-{which}");
                (json!({"name": name}), json!({field: count, "selector": selector}))
            }
        };
        json!({"metadata": metadata, "spec": spec})
    }
}

/// Any step; some Deployments carry a waiver if `waivers` are wanted.
pub(crate) fn steps(waivers: bool) -> impl Strategy<Value = Step> {
    let counts = prop_oneof![
        (0_i64..4).prop_map(Value::from),
        prop_oneof![Just(0), Just(40), Just(90), Just(100)].prop_map(|percent| format!("{percent}%").into()),
    ];
    prop_oneof![
        3 => (0_i64..5, any::<bool>(), 0_i64..2, proptest::bool::weighted(0.2), proptest::bool::weighted(0.2), proptest::bool::weighted(0.3))
            .prop_map(move |(replicas, recreate, surge, singleton, claim, waived)| Step::Workload {
                replicas, recreate, surge, singleton, claim, waived: waived && waivers,
            }),
        3 => (0_i64..5).prop_map(Step::Scale),
        2 => (1_i64..5, 0_i64..3).prop_map(|(minimum, more)| Step::Autoscaler(minimum, more)),
        1 => (0_i64..5, 0_i64..3, proptest::option::weighted(0.2, 0_i64..2), proptest::option::weighted(0.2, 0_i64..4))
            .prop_map(|(minimum, more, idle, paused)| Step::ScaledObject { minimum, more, idle, paused }),
        2 => (any::<bool>(), any::<bool>(), counts, proptest::bool::weighted(0.2))
            .prop_map(|(which, minimum, count, everybody)| Step::Budget { which, minimum, count, everybody }),
    ]
}
