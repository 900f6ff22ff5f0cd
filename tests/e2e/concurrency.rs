//! Many requests at once: what one object alone decides is decided right however many there are, and
//! what two at once slip past any admission is found where it lies.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use kube::api::{Api, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::DynamicObject;
use kube::discovery::ApiResource;
use serde_json::{Value, json};

use super::availability::{apply, autoscaler, budget, waive, workload};
use super::controlplane::say;
use super::scan::{about, scan};
use super::{SOON, Stage, stage};
use crate::controlplane::wait_until;

/// How many requests are under way at a time.
const AT_ONCE: usize = 48;
/// How many workloads of each class there are, and how often each is scaled and applied.
const OF_EACH: usize = 8;
const ROUNDS: usize = 25;

/// Workloads for which a count is right or wrong whatever else happens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Class {
    Plain,
    Waived,
    Singleton,
    Autoscaled,
    /// Under a budget that keeps two.
    Tight,
    /// At three, and about to be scaled to two while such a budget comes.
    Racing,
}

impl Class {
    const STEADY: [Self; 5] = [Self::Plain, Self::Waived, Self::Singleton, Self::Autoscaled, Self::Tight];

    fn name(self, index: usize) -> String {
        format!("{self:?}-{index}").to_lowercase()
    }

    /// The rule that forbids a count; none if it is allowed.
    fn forbidden(self, count: i64) -> Option<&'static str> {
        match (self, count) {
            (Self::Plain | Self::Tight, 1) => Some("min-replicas: "),
            (Self::Singleton, 2..) => Some("singleton: "),
            (Self::Tight, 2) => Some("disruption-budget: "),
            _ => None,
        }
    }

    fn objects(self, index: usize) -> Vec<Value> {
        let name = self.name(index);
        let mut objects = match self {
            Self::Singleton => vec![self.workload(index, 1)],
            _ => vec![self.workload(index, 3)],
        };
        match self {
            Self::Autoscaled => objects.insert(0, autoscaler(&name, 2, 5)),
            Self::Tight => objects.push(tight(&name)),
            _ => {}
        }
        objects
    }

    fn workload(self, index: usize, count: i64) -> Value {
        let mut object = workload(&self.name(index), Some(count));
        if self == Self::Singleton {
            object["metadata"]["annotations"] = json!({"plimsoll.dev/singleton": "it elects no leader"});
            object["spec"]["strategy"] = json!({"type": "Recreate"});
        }
        if self == Self::Waived { waive(object, "min-replicas") } else { object }
    }
}

fn tight(name: &str) -> Value {
    budget(name, &json!({"minAvailable": 2}), &json!({"matchLabels": {"app": name}}))
}

/// A user of the API server, by way of whom many requests go at once.
struct User {
    client: kube::Client,
    namespace: String,
    /// How often Plimsoll couldn't be sure in time and asked to be asked again.
    unsure: AtomicUsize,
}

impl User {
    async fn new(stage: &Stage, namespace: &str) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let kubeconfig = Kubeconfig::read_from(stage.plane.kubeconfig("alice")).unwrap();
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
        Self {
            client: kube::Client::try_from(config).unwrap(),
            namespace: namespace.to_owned(),
            unsure: AtomicUsize::new(0),
        }
    }

    fn api(&self, object: &Value) -> Api<DynamicObject> {
        let text = |field: &str| object[field].as_str().unwrap();
        let (group, version) = text("apiVersion").split_once('/').unwrap();
        let gvk = kube::core::GroupVersionKind::gvk(group, version, text("kind"));
        Api::namespaced_with(self.client.clone(), &self.namespace, &ApiResource::from_gvk(&gvk))
    }

    /// Applies an object, or scales one: what the API server says against it.
    async fn send(&self, object: &Value, scale: Option<i64>) -> Option<String> {
        let (api, name) = (self.api(object), object["metadata"]["name"].as_str().unwrap());
        loop {
            let answer = match scale {
                Some(count) => {
                    let patch = Patch::Merge(json!({"spec": {"replicas": count}}));
                    api.patch_scale(name, &PatchParams::default(), &patch).await.map(drop)
                }
                None => {
                    let params = PatchParams::apply("crowd").force();
                    api.patch(name, &params, &Patch::Apply(object)).await.map(drop)
                }
            };
            match answer {
                Ok(()) => return None,
                // Somebody else's write came first, which is nobody's verdict.
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                // What is scaled is newer than the cache, and the live read took too long.
                Err(kube::Error::Api(status)) if status.message.contains("unconfirmed: ") => {
                    self.unsure.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(kube::Error::Api(status)) => return Some(status.message),
                Err(error) => panic!("{name}: {error}"),
            }
        }
    }
}

/// Checks one answer; says what is wrong with it.
fn wrong(class: Class, count: i64, what: &str, answer: Option<&str>) -> Option<String> {
    match (class.forbidden(count), answer) {
        (None, None) => None,
        (Some(rule), Some(message)) if message.contains(rule) && message.contains("plimsoll.dev") => None,
        (expected, answer) => {
            Some(format!("{class:?} {what} {count}: {expected:?} was expected: {answer:?}"))
        }
    }
}

#[test]
fn a_thousand_requests_at_once_are_judged_one_by_one() {
    let stage = stage();
    let namespace = stage.production("crowd");
    let steady = Class::STEADY.into_iter().flat_map(|class| (0..OF_EACH).map(move |index| (class, index)));
    let racing = (0..50 - Class::STEADY.len() * OF_EACH).map(|index| (Class::Racing, index));
    let all: Vec<_> = steady.clone().chain(racing.clone()).collect();
    let objects: Vec<_> = all.iter().flat_map(|(class, index)| class.objects(*index)).collect();
    apply(stage, &namespace, &objects).expect_ok("as they should be");
    assert_eq!(all.len(), 50);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let user = runtime.block_on(User::new(stage, &namespace));
    let user = &user;
    let began = std::time::Instant::now();
    let (wrong, races) = runtime.block_on(async {
        let requests = (0..ROUNDS).flat_map(|round| steady.clone().map(move |of| (round, of)));
        let requests = requests.map(|(round, (class, index))| async move {
            // Every workload is given every count, by both roads, in an order of its own.
            let count = i64::try_from((round * 5 + index) % 6).unwrap();
            let object = class.workload(index, count);
            let (what, scale) =
                if round % 2 == 0 { ("scaled to", Some(count)) } else { ("applied with", None) };
            wrong(class, count, what, user.send(&object, scale).await.as_deref())
        });
        let requests = stream::iter(requests).buffer_unordered(AT_ONCE).filter_map(async |wrong| wrong);
        let races = racing.clone().map(|(class, index)| async move {
            let (object, budget) = (class.workload(index, 3), tight(&class.name(index)));
            let (scaled, budgeted) = futures::join!(user.send(&object, Some(2)), user.send(&budget, None));
            (class.name(index), [scaled, budgeted])
        });
        let races = stream::iter(races).buffer_unordered(AT_ONCE);
        futures::join!(requests.collect::<Vec<_>>(), races.collect::<Vec<_>>())
    });
    let count = steady.count() * ROUNDS + 2 * races.len();
    let unsure = user.unsure.load(Ordering::Relaxed);
    say(&format!("{count} requests in {:?}, {unsure} asked again", began.elapsed()));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (name, answers) in &races {
        // Whichever comes second is refused if it is seen to, and only then.
        let refused: Vec<_> = answers.iter().flatten().collect();
        let is_sure = |message: &&&String| !message.contains("could not be confirmed");
        assert!(refused.iter().filter(is_sure).count() < 2, "{name}: {refused:#?}");
    }

    // One more that nobody was asked about: a controller's writes aren't sent, whoever took its name.
    let around = ["--as=system:serviceaccount:kube-system:generic-garbage-collector", "-n", &namespace];
    let patch = ["patch", "deployment", "racing-0", "--type=merge", "-p", r#"{"spec":{"replicas":1}}"#];
    stage.plane.kubectl("admin", &[&patch[..], &around].concat()).expect_ok("past admission");
    let stored =
        |kind: &str, name: &str| stage.plane.kubectl("admin", &["get", kind, name, "-n", &namespace]);
    let replicas =
        |name: &str| stage.get(&namespace, "deployment", name)["spec"]["replicas"].as_i64().unwrap();
    let mut expected = BTreeSet::from(["min-replicas Deployment/racing-0".to_owned()]);
    let mut slipped = 0;
    for (class, index) in racing {
        let name = class.name(index);
        if stored("pdb", &name).status_ok && replicas(&name) < 3 {
            expected.insert(format!("disruption-budget PodDisruptionBudget/{name}"));
            expected.insert(format!("disruption-budget Deployment/{name}"));
            slipped += 1;
        }
    }
    say(&format!("{slipped} of {} pairs slipped past admission", races.len()));
    let found = || -> BTreeSet<String> {
        let (_, report) = scan(stage, &namespace, &[]);
        // What lies there is there already; as something new it would be refused.
        let is_wrong = |finding: &&Value| finding["action"] == "Deny" && finding["state"] == "Existing";
        report["findings"].as_array().unwrap().iter().filter(is_wrong).map(about).collect()
    };
    // An autoscaler may be about to repair what it scales, which is nobody's finding by then.
    wait_until("the scan to find what slipped past admission, and that alone", SOON, || {
        let found = found();
        if found != expected {
            let differ: Vec<_> = found.symmetric_difference(&expected).collect();
            say(&format!("differ: {differ:?}"));
        }
        found == expected
    });
}
