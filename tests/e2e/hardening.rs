//! Hardening against the real thing: what is filled in is what the apiserver takes, the profile rules
//! say what its own Pod Security admission says, and old workloads stay what they were.

use std::collections::BTreeMap;

use kube::api::PostParams;
use kube::core::Request as ApiRequest;
use plimsoll::cluster::Cluster;
use plimsoll::engine::{self, Operation, Request};
use plimsoll::facts::NamespaceFacts;
use plimsoll::object::{Kind, Object};
use plimsoll::policy::{Policy, load};
use plimsoll::verdict::Verdict;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::{Stage, stage};

#[path = "../generate/pods.rs"]
mod pods;

/// How many pods are generated.
const COUNT: usize = 300;

/// The same pods in every run: a difference has to be the code's.
fn specs() -> Vec<Value> {
    let mut runner = TestRunner::deterministic();
    let strategy = pods::pod_specs();
    (0..COUNT).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

/// Kinds that make or are pods, taken in turn.
const KINDS: [Kind; 8] = [
    Kind::Deployment,
    Kind::StatefulSet,
    Kind::DaemonSet,
    Kind::ReplicaSet,
    Kind::ReplicationController,
    Kind::Job,
    Kind::CronJob,
    Kind::Pod,
];

/// An object of a kind around a pod spec.
fn object(kind: Kind, spec: &Value) -> Value {
    let labels = json!({"app": "x"});
    let mut spec = spec.clone();
    if matches!(kind, Kind::Job | Kind::CronJob) {
        spec["restartPolicy"] = "Never".into();
    }
    let template = json!({"metadata": {"labels": labels}, "spec": spec});
    let selector = json!({"matchLabels": labels});
    let spec = match kind {
        Kind::Pod => spec,
        Kind::CronJob => json!({"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": template}}}),
        Kind::DaemonSet => json!({"selector": selector, "template": template}),
        Kind::Job => json!({"template": template}),
        Kind::ReplicationController => json!({"replicas": 2, "selector": labels, "template": template}),
        _ => json!({"replicas": 2, "selector": selector, "template": template}),
    };
    let version = match kind.group() {
        "" => kind.version().to_owned(),
        group => format!("{group}/{}", kind.version()),
    };
    json!({"apiVersion": version, "kind": kind.as_str(), "metadata": {"name": "generated", "labels": labels}, "spec": spec})
}

/// What a server-side dry run of a CREATE makes of an object, or why it is refused. One connection
/// serves them all.
async fn dry_run(cluster: &Cluster, namespace: &str, kind: Kind, object: &Value) -> Result<Value, String> {
    let root = match kind.group() {
        "" => "/api".to_owned(),
        group => format!("/apis/{group}"),
    };
    let path = format!("{root}/{}/namespaces/{namespace}/{}", kind.version(), kind.plural());
    let how = PostParams { dry_run: true, field_manager: Some("test".to_owned()) };
    let request = ApiRequest::new(path).create(&how, object.to_string().into_bytes()).unwrap();
    match cluster.client().request_text(request).await {
        Ok(text) => Ok(serde_json::from_str(&text).unwrap()),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(error) => panic!("the apiserver didn't answer: {error}"),
    }
}

fn as_admin<T>(stage: &Stage, work: impl AsyncFnOnce(Cluster) -> T) -> T {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let kubeconfig = stage.plane.kubeconfig("admin");
        work(Cluster::connect(Some(&kubeconfig)).await.unwrap()).await
    })
}

/// What /validate says about an object that is new, and what /mutate would still do.
fn judge(kind: Kind, object: &Value, policies: &[Policy]) -> (Verdict, Verdict) {
    let text = object.to_string();
    let request = Request {
        operation: Operation::Create,
        kind,
        namespace: "shop",
        user: "alice",
        groups: Vec::new(),
        manager: Some("test"),
        manifest: false,
        object: Object::read(kind, &text).unwrap(),
        old: None,
    };
    let mut facts = NamespaceFacts::default();
    facts.labels = Some([("environment", "production")].into_iter().collect());
    let now = jiff::Timestamp::now();
    let judged = engine::judge(&request, policies, &facts, now).verdict;
    (judged, engine::fill_in(&request, policies, &facts, now).verdict)
}

/// Nothing that is filled in makes an object invalid, and what is stored has nothing left to fill in
/// and no fault that would have been refused.
#[test]
fn the_apiserver_takes_what_is_filled_in() {
    let stage = stage();
    let plain = stage.plane.namespace("generated", &[]);
    let governed = stage.production("generated-governed");
    let policies = load::embedded().unwrap();
    let (mut stored, mut filled, mut refused) = (0, 0, 0);
    as_admin(stage, async |cluster| {
        for (number, spec) in specs().iter().enumerate() {
            let kind = KINDS[number % KINDS.len()];
            let object = object(kind, spec);
            let before = dry_run(&cluster, &plain, kind, &object).await;
            let before = before
                .unwrap_or_else(|error| panic!("number {number} is valid by itself: {error}\n{object:#}"));
            match dry_run(&cluster, &governed, kind, &object).await {
                Ok(after) => {
                    let (judged, more) = judge(kind, &after, &policies);
                    assert!(judged.allowed(), "number {number}: {:?}\n{after:#}", judged.findings);
                    assert!(
                        more.patch.is_empty(),
                        "number {number}: {:?} is left to do\n{after:#}",
                        more.patch
                    );
                    stored += 1;
                    filled += usize::from(after["spec"] != before["spec"]);
                }
                Err(error) => {
                    assert!(error.contains("validate.plimsoll.dev"), "number {number}: {error}\n{object:#}");
                    let (judged, _) = judge(kind, &before, &policies);
                    assert!(!judged.allowed(), "number {number} is refused: {error}\n{object:#}");
                    refused += 1;
                }
            }
        }
    });
    assert!(
        stored > 50 && filled > 50 && refused > 50,
        "{stored} stored, {filled} of them filled in, {refused} refused"
    );
}

/// A control of the restricted profile, as the apiserver's refusal names it, and our finding for it.
const CONTROLS: [(&str, &str, &str); 5] = [
    ("allowPrivilegeEscalation != false (", "privilege-escalation", ""),
    ("unrestricted capabilities (", "capabilities", ""),
    ("runAsNonRoot != true (", "run-as-non-root", "runAsNonRoot"),
    ("runAsUser=0 (", "run-as-non-root", "runAsUser"),
    ("seccompProfile (", "seccomp-profile", "seccompProfile.type"),
];

/// Pod Security admission and our four rules about its restricted profile find fault with the same
/// pods for the same reasons. It covers more (volumes, the host's namespaces); that is left out.
#[test]
fn the_profile_rules_agree_with_pod_security_admission() {
    let stage = stage();
    let labels = [
        ("pod-security.kubernetes.io/enforce", "restricted"),
        ("pod-security.kubernetes.io/enforce-version", "latest"),
    ];
    let namespace = stage.plane.namespace("restricted", &labels);
    let rules =
        json!({"run-as-non-root": {}, "privilege-escalation": {}, "capabilities": {}, "seccomp-profile": {}});
    let document = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "InvariantPolicy",
        "metadata": {"name": "restricted"}, "spec": {"rules": rules}});
    let policies = load::from_texts(&[("policy".to_owned(), document.to_string())]).unwrap();
    let (mut differences, mut explained) = (Vec::new(), 0);
    // How often each control holds, and how often not.
    let mut counts: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    as_admin(stage, async |cluster| {
        for (number, spec) in specs().iter().enumerate() {
            let mut pod = object(Kind::Pod, spec);
            make_worse(&mut pod["spec"], number);
            let refusal = dry_run(&cluster, &namespace, Kind::Pod, &pod).await.err().unwrap_or_default();
            assert!(
                refusal.is_empty() || refusal.contains("violates PodSecurity"),
                "number {number}: {refusal}\n{pod:#}"
            );
            let (judged, _) = judge(Kind::Pod, &pod, &policies);
            for (control, rule, field) in CONTROLS {
                let theirs = refusal.contains(control);
                let ours = judged
                    .findings
                    .iter()
                    .any(|judged| judged.finding.rule == rule && judged.finding.path.ends_with(field));
                counts.entry(control).or_default()[usize::from(theirs)] += 1;
                // Only `spec.os` counts there. A pod that can be placed on nodes with Windows alone has
                // no use for these fields either.
                let by_selector = pod["spec"].get("os").is_none_or(Value::is_null)
                    && pod["spec"]["nodeSelector"]["kubernetes.io/os"] == "windows"
                    && rule != "run-as-non-root";
                if by_selector {
                    assert!(!ours, "number {number}, {rule}: no field for Linux on Windows\n{pod:#}");
                    explained += usize::from(theirs);
                } else if theirs != ours {
                    differences.push(format!(
                        "number {number}, {rule}: {ours}, Pod Security: {theirs}: {refusal}\n{pod:#}"
                    ));
                }
            }
        }
    });
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    assert!(explained > 20, "pods with a node selector only: {explained}");
    assert!(counts.values().flatten().all(|&count| count > 20), "each control both ways: {counts:?}");
}

/// Adds what other controls of the profile are about, and what is hard on ours.
fn make_worse(spec: &mut Value, number: usize) {
    let is_linux = spec["os"]["name"] != "windows";
    let shares_users = spec.get("hostUsers").is_none_or(|it| *it != false);
    match number % 6 {
        1 => {
            let host = json!({"name": "host", "hostPath": {"path": "/"}});
            spec["volumes"].as_array_mut().unwrap().push(host);
        }
        2 if is_linux && shares_users => spec["hostPID"] = true.into(),
        3 if is_linux => spec["containers"][0]["securityContext"]["procMount"] = "Default".into(),
        4 if is_linux => spec["os"] = json!({"name": "linux"}),
        _ => {}
    }
    spec.as_object_mut().unwrap().retain(|_, value| !value.is_null());
}
