//! What an API server may ask before it stores anything: nobody, its own policies, an empty webhook, Plimsoll.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::controlplane::{ControlPlane, Plimsoll, say};
use crate::floor;

/// Who stands between a request and the store. Each has a namespace of its name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Gate {
    /// Nobody.
    Open,
    /// Two ValidatingAdmissionPolicies, which the API server evaluates itself.
    Policies,
    /// A mutating and a validating webhook that judge nothing.
    Empty,
    /// Plimsoll's two webhooks with the same two rules.
    TwoRules,
    /// Plimsoll's two webhooks with every shipped policy.
    Shipped,
}

impl Gate {
    pub(crate) const ALL: [Self; 5] =
        [Self::Open, Self::Policies, Self::Empty, Self::TwoRules, Self::Shipped];

    pub(crate) fn namespace(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Policies => "policies",
            Self::Empty => "empty",
            Self::TwoRules => "two-rules",
            Self::Shipped => "shipped",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Open => "nothing",
            Self::Policies => "two ValidatingAdmissionPolicies",
            Self::Empty => "two webhooks that judge nothing",
            Self::TwoRules => "Plimsoll, the same two rules",
            Self::Shipped => "Plimsoll, every shipped policy",
        }
    }

    /// Whether it refuses what neither rule allows.
    pub(crate) fn judges(self) -> bool {
        matches!(self, Self::Policies | Self::TwoRules | Self::Shipped)
    }
}

/// Makes the namespaces and opens every gate for its own.
pub(crate) fn build(plane: &ControlPlane) -> anyhow::Result<Plimsoll> {
    for gate in Gate::ALL {
        let mut labels = json!({});
        if !matches!(gate, Gate::TwoRules | Gate::Shipped) {
            labels["measured"] = "apart".into();
        }
        if gate == Gate::Shipped {
            labels["environment"] = "production".into();
        }
        let metadata = json!({"name": gate.namespace(), "labels": labels});
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        plane.apply_manifest(&namespace.to_string()).expect_ok("a namespace");
    }
    let replicas = "object.spec.replicas >= 2 || has(object.metadata.annotations) && \
        'waiver.example.com/min-replicas' in object.metadata.annotations";
    let read_only = "(object.spec.template.spec.containers + (has(object.spec.template.spec.initContainers) ? \
        object.spec.template.spec.initContainers : [])).all(container, has(container.securityContext) && \
        has(container.securityContext.readOnlyRootFilesystem) && container.securityContext.readOnlyRootFilesystem)";
    for (name, expression) in [("min-replicas", replicas), ("read-only-root-filesystem", read_only)] {
        for object in policy(name, expression) {
            plane.apply_manifest(&object.to_string()).expect_ok("a policy");
        }
    }
    let certificates = plane.dir().join("empty");
    let address = serve_nothing(&certificates)?;
    for object in empty_webhooks(address, &std::fs::read(certificates.join("ca.crt"))?) {
        plane.apply_manifest(&object.to_string()).expect_ok("an empty webhook");
    }
    let two = plane.dir().join("two-rules.yaml");
    let spec = json!({"match": {"namespaces": [Gate::TwoRules.namespace()]},
        "rules": {"min-replicas": {"minimum": 2}, "read-only-root-filesystem": {}}});
    let policy = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "InvariantPolicy",
        "metadata": {"name": "two-rules"}, "spec": spec});
    std::fs::write(&two, policy.to_string())?;
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/policies");
    let policies = ["--policies", two.to_str().expect("a path in UTF-8"), shipped];
    let plimsoll = Plimsoll::start(plane, Path::new(env!("CARGO_BIN_EXE_plimsoll")), &policies)?;
    let apart = [
        "webhook.namespaceSelector.matchExpressions[0].key=measured",
        "webhook.namespaceSelector.matchExpressions[0].operator=DoesNotExist",
    ];
    plimsoll.register(plane, &apart, &say)?;
    Ok(plimsoll)
}

/// A policy of the API server's own, and where it applies.
fn policy(name: &str, expression: &str) -> [Value; 2] {
    let version = "admissionregistration.k8s.io/v1";
    let rules = json!([{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
        "resources": ["deployments"]}]);
    let namespaces = json!({"matchLabels": {"kubernetes.io/metadata.name": Gate::Policies.namespace()}});
    [
        json!({"apiVersion": version, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name}, "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": rules},
            "validations": [{"expression": expression, "message": name}],
        }}),
        json!({"apiVersion": version, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name}, "spec": {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": namespaces},
        }}),
    ]
}

/// The configurations of two webhooks at an address, as Plimsoll has two.
fn empty_webhooks(address: SocketAddr, ca: &[u8]) -> [Value; 2] {
    let rules = json!([{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
        "resources": ["deployments"]}]);
    let namespaces = json!({"matchLabels": {"kubernetes.io/metadata.name": Gate::Empty.namespace()}});
    let configuration = |kind: &str, path: &str| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": "empty"},
            "webhooks": [{
                "name": "empty.example.com",
                "clientConfig": {"url": format!("https://{address}{path}"), "caBundle": STANDARD.encode(ca)},
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "namespaceSelector": namespaces,
                "rules": rules,
            }],
        })
    };
    [
        configuration("MutatingWebhookConfiguration", "/mutate"),
        configuration("ValidatingWebhookConfiguration", "/validate"),
    ]
}

/// Starts a webhook that reads nothing but the uid, with a certificate of its own in a directory.
fn serve_nothing(directory: &Path) -> anyhow::Result<SocketAddr> {
    plimsoll::server::generate(directory, &["127.0.0.1".to_owned()], false)?;
    let (cert, key) = (directory.join("tls.crt"), directory.join("tls.key"));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // It ends with the process.
    thread::spawn(move || runtime.block_on(floor::serve(listener, cert, key, floor::hard_floor)));
    Ok(address)
}
