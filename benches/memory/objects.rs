//! What the cluster is filled with: objects as a chart makes them, with what an API server adds.

use plimsoll::object::Kind;
use serde_json::{Value, json};

/// A Deployment as a real API server had it stored, managedFields and all.
const UPDATE: &[u8] = include_bytes!("../reviews/update.json");

/// How many objects of a kind there are to a hundred Deployments.
pub(crate) struct Share {
    pub(crate) kind: Kind,
    percent: usize,
}

pub(crate) const SHARES: [Share; 4] = [
    Share { kind: Kind::Deployment, percent: 100 },
    Share { kind: Kind::HorizontalPodAutoscaler, percent: 50 },
    Share { kind: Kind::PodDisruptionBudget, percent: 50 },
    Share { kind: Kind::PersistentVolumeClaim, percent: 100 },
];

impl Share {
    pub(crate) fn of(&self, deployments: usize) -> usize {
        deployments * self.percent / 100
    }

    /// The object of a number, as an API server has it stored.
    pub(crate) fn object(&self, index: usize, namespace: &str) -> Value {
        let workload = name(index);
        let labels = labels(&workload);
        let (api_version, spec) = match self.kind {
            Kind::Deployment => return deployment(&workload, namespace),
            Kind::HorizontalPodAutoscaler => {
                let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": workload});
                let cpu = json!({"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}});
                let metrics = json!([{"type": "Resource", "resource": cpu}]);
                let spec =
                    json!({"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 8, "metrics": metrics});
                ("autoscaling/v2", spec)
            }
            Kind::PodDisruptionBudget => {
                ("policy/v1", json!({"maxUnavailable": 1, "selector": {"matchLabels": selector(&workload)}}))
            }
            _ => {
                let requests = json!({"requests": {"storage": "10Gi"}});
                ("v1", json!({"accessModes": ["ReadWriteOnce"], "resources": requests}))
            }
        };
        let uid = uid(self.kind, index);
        let metadata = json!({"name": workload, "namespace": namespace, "uid": uid,
            "resourceVersion": format!("{}", 1_000_000 + index), "labels": labels});
        json!({"apiVersion": api_version, "kind": self.kind.as_str(), "metadata": metadata, "spec": spec})
    }
}

/// The namespace of a number.
pub(crate) fn namespace(index: usize, namespaces: usize) -> String {
    format!("team-{:03}", index % namespaces)
}

fn name(index: usize) -> String {
    format!("checkout-service-{index:05}")
}

fn uid(kind: Kind, index: usize) -> String {
    format!("0f6a2b1c-{:04x}-4c1d-9e2f-{index:012x}", kind as usize)
}

fn labels(workload: &str) -> Value {
    let mut labels = selector(workload);
    labels["app.kubernetes.io/component"] = "api".into();
    labels["app.kubernetes.io/part-of"] = "shop".into();
    labels
}

fn selector(workload: &str) -> Value {
    json!({"app.kubernetes.io/name": workload, "app.kubernetes.io/instance": format!("{workload}-production")})
}

fn deployment(name: &str, namespace: &str) -> Value {
    let review: Value = serde_json::from_slice(UPDATE).unwrap();
    let mut object = review["request"]["oldObject"].clone();
    let (metadata, labels) = (&mut object["metadata"], labels(name));
    metadata["name"] = name.into();
    metadata["namespace"] = namespace.into();
    metadata["labels"] = labels.clone();
    object["spec"]["selector"]["matchLabels"] = selector(name);
    let template = &mut object["spec"]["template"];
    template["metadata"]["labels"] = labels;
    let volume = json!({"name": "data", "persistentVolumeClaim": {"claimName": name}});
    template["spec"]["volumes"].as_array_mut().unwrap().push(volume);
    object
}
