//! People at work: each makes, changes, scales and deletes objects of its own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::apiserver::{Answer, ApiServer};
use crate::requests::{self, CHANGES, Due, GUARDED, Kind, Place, SHAPES, Shape, TEAM};
use crate::storms::Draws;
use crate::tally::{Asked, Tally};
use crate::weather::Weather;

/// How many people write objects; one more edits the policy.
const PEOPLE: u64 = 7;
/// How long each of them thinks.
const PAUSE: Duration = Duration::from_millis(200);
/// How many objects somebody has at a time.
const MANY: usize = 12;

/// The namespaces that are there from the start.
pub(crate) const NAMESPACES: [&str; 4] = ["gov-a", "gov-b", "team-a", "free-a"];

pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    people: JoinSet<()>,
}

impl Writers {
    pub(crate) fn start(
        runtime: &Handle,
        api: &ApiServer,
        seed: u64,
        weather: &Arc<Weather>,
        tally: &Arc<Tally>,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut people = JoinSet::new();
        for person in 0..=PEOPLE {
            let writer = Writer {
                person,
                asked: 0,
                draws: Draws::new(seed, 1 + person),
                api: api.clone(),
                weather: Arc::clone(weather),
                tally: Arc::clone(tally),
                stop: Arc::clone(&stop),
                held: Vec::new(),
                next: VecDeque::new(),
            };
            people.spawn_on(writer.work(), runtime);
        }
        Self { stop, people }
    }

    /// Lets everybody end what they began.
    pub(crate) async fn stop(mut self) {
        self.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = self.people.join_next().await {
            ended.expect("nobody panics");
        }
    }
}

/// An object that is known to be stored.
struct Held {
    shape: &'static Shape,
    namespace: String,
    name: String,
}

struct Writer {
    person: u64,
    asked: u64,
    draws: Draws,
    api: ApiServer,
    weather: Arc<Weather>,
    tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
    held: Vec<Held>,
    /// What is to be made next: shape and namespace.
    next: VecDeque<(&'static Shape, String)>,
}

impl Writer {
    async fn work(mut self) {
        let mut pause = interval(PAUSE);
        pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.stop.load(Ordering::SeqCst) {
            pause.tick().await;
            match self.person {
                PEOPLE => self.edit_policy().await,
                _ => self.step().await,
            }
        }
    }

    async fn step(&mut self) {
        if let Some((shape, namespace)) = self.next.pop_front() {
            return self.make(shape, namespace).await;
        }
        match self.draws.below(100) {
            0 => self.make_namespace().await,
            1 => self.unlabel().await,
            2..=4 => self.scale_guarded().await,
            5..=54 if self.held.len() < MANY => self.make_any().await,
            5..=74 if !self.held.is_empty() => self.change().await,
            _ if !self.held.is_empty() => self.delete().await,
            _ => self.make_any().await,
        }
    }

    async fn make_any(&mut self) {
        let namespace = *self.draws.pick(&NAMESPACES);
        let shape = match Place::of(namespace) {
            Some(Place::Team) => self.draws.pick(&TEAM),
            _ => self.draws.pick(&SHAPES),
        };
        self.make(shape, namespace.to_owned()).await;
    }

    async fn make(&mut self, shape: &'static Shape, namespace: String) {
        let name = format!("p{}-{}", self.person, self.asked);
        let path = shape.kind.path(Some(&namespace));
        let due = due(&namespace, shape.due);
        let what = format!("{:?} {namespace}/{name}: {}", shape.kind, shape.says);
        let answer = self.ask(&what, due, "POST", &path, &(shape.make)(&name)).await;
        let is_there = match &answer {
            Answer::Done(_) => true,
            Answer::Denied(_) | Answer::Unconfirmed => false,
            Answer::Failed(..) => self.is_there(&format!("{path}/{name}")).await,
        };
        if !is_there {
            return;
        }
        if due == Due::Deny {
            self.excuse(&namespace, &name);
            if !matches!(answer, Answer::Done(_)) && !self.tally.is_excused(&format!("{namespace}/{name}")) {
                self.tally.object(format!("stored after {answer:?}, and must be denied: {what}"));
            }
        }
        self.held.push(Held { shape, namespace, name });
    }

    async fn change(&mut self) {
        let held = self.draws.index(self.held.len());
        let Held { shape, namespace, name } = &self.held[held];
        let fitting: Vec<_> = CHANGES.iter().filter(|change| change.of.contains(&shape.says)).collect();
        if fitting.is_empty() {
            return self.delete().await;
        }
        let change = *self.draws.pick(&fitting);
        let path = format!("{}/{name}{}", shape.kind.path(Some(namespace)), change.subresource);
        let due = due(namespace, change.due);
        let what = format!("{:?} {namespace}/{name} ({}): {}", shape.kind, shape.says, change.says);
        let (namespace, name) = (namespace.clone(), name.clone());
        let answer = self.ask(&what, due, "PATCH", &path, &(change.patch)()).await;
        if change.due == Due::Deny && matches!(answer, Answer::Done(_) | Answer::Failed(..)) {
            self.excuse(&namespace, &name);
            // It may be wrong now, where that is nobody's business, and what comes next would be judged by that.
            self.held.swap_remove(held);
        }
    }

    /// Objects of the team may come in while its policy is broken.
    fn excuse(&self, namespace: &str, name: &str) {
        if Place::of(namespace) == Some(Place::Team) && self.weather.is_policy_in_doubt() {
            self.tally.excuse(format!("{namespace}/{name}"));
        }
    }

    async fn delete(&mut self) {
        let held = self.draws.index(self.held.len());
        let Held { shape, namespace, name } = self.held.swap_remove(held);
        let path = format!("{}/{name}", shape.kind.path(Some(&namespace)));
        let what = format!("{:?} {namespace}/{name}: deleted", shape.kind);
        self.ask(&what, Due::Pass, "DELETE", &path, &Value::Null).await;
    }

    /// A new namespace, and at once in it what no cache can have heard of.
    async fn make_namespace(&mut self) {
        let name = format!("gov-{}-{}", self.person, self.asked);
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": {"environment": "production"}}});
        let what = format!("Namespace {name}");
        if let Answer::Done(_) = self.ask(&what, Due::Pass, "POST", "/api/v1/namespaces", &namespace).await {
            let (wrong, right) = SHAPES.iter().partition::<Vec<_>, _>(|shape| shape.due == Due::Deny);
            // What is about an object that isn't there is right there.
            let alone =
                |shape: &&&'static Shape| shape.kind == Kind::Deployment || shape.kind == Kind::CronJob;
            let wrong: Vec<_> = wrong.iter().filter(alone).copied().collect();
            for shape in [*self.draws.pick(&wrong), *self.draws.pick(&right), *self.draws.pick(&wrong)] {
                self.next.push_back((shape, name.clone()));
            }
        }
    }

    /// Takes a namespace out of its policy, or tries to.
    async fn unlabel(&mut self) {
        let patch = json!({"metadata": {"labels": {"environment": "test"}}});
        let path = "/api/v1/namespaces/gov-b";
        self.ask("Namespace gov-b: its label taken off", Due::Deny, "PATCH", path, &patch).await;
    }

    async fn scale_guarded(&mut self) {
        let (replicas, due) = *self.draws.pick(&[(2, Due::Deny), (3, Due::Pass), (4, Due::Pass)]);
        let namespace = *self.draws.pick(&["gov-a", "gov-b"]);
        let path = format!("{}/{GUARDED}/scale", Kind::Deployment.path(Some(namespace)));
        let what = format!("Deployment {namespace}/{GUARDED} scaled to {replicas}");
        self.ask(&what, due, "PATCH", &path, &json!({"spec": {"replicas": replicas}})).await;
    }

    /// The team's policy, right and wrong; what it denies stays the same.
    async fn edit_policy(&mut self) {
        sleep(PAUSE * 4).await;
        let path = "/apis/plimsoll.dev/v1alpha1/invariantpolicies/team?fieldManager=chaos&force=true";
        if !self.draws.one_in(3) {
            let action = *self.draws.pick(&["Warn", "Audit", "Off"]);
            let policy = requests::policy(3, &json!({"probes": {"action": action}}));
            self.ask("InvariantPolicy team: good", Due::Pass, "APPLY", path, &policy).await;
            return;
        }
        let wrong = match self.draws.one_in(2) {
            true => requests::policy(3, &json!({"min-replica": {}})),
            false => requests::policy(3, &json!({"min-replicas": {"minimum": 0}})),
        };
        self.weather.doubt_policy();
        // Its entry says Ignore, so a fault may let it in.
        let answer = self.ask("InvariantPolicy team: bad", Due::Either, "APPLY", path, &wrong).await;
        if let Answer::Denied(_) = answer {
            return self.weather.mend_policy(false);
        }
        let good = requests::policy(3, &json!({}));
        while !matches!(
            self.ask("InvariantPolicy team: mended", Due::Pass, "APPLY", path, &good).await,
            Answer::Done(_)
        ) {
            sleep(PAUSE).await;
        }
        self.weather.mend_policy(true);
    }

    /// Asks, and has the answer judged.
    async fn ask(&mut self, what: &str, due: Due, method: &str, path: &str, body: &Value) -> Answer {
        self.asked += 1;
        let id = format!("{}-{}", self.person, self.asked);
        let is_teams = path.contains("/team-a/");
        let doubted = self.weather.is_policy_in_doubt();
        let before = self.weather.now();
        let answer = self.api.ask(&id, method, path, body).await;
        let faults = self.weather.since(&before);
        let due = match is_teams && (doubted || self.weather.is_policy_in_doubt()) {
            true if due == Due::Deny => Due::Either,
            _ => due,
        };
        self.tally.note(&Asked { id: &id, what, due }, &answer, faults);
        answer
    }

    /// Whether an object is stored, asked until somebody knows.
    async fn is_there(&self, path: &str) -> bool {
        loop {
            match self.api.get(path).await {
                Answer::Done(_) => return true,
                Answer::Failed(404, _) => return false,
                _ => sleep(PAUSE).await,
            }
        }
    }
}

/// What is due in a namespace.
fn due(namespace: &str, governed: Due) -> Due {
    match Place::of(namespace) {
        Some(Place::Free) | None => Due::Pass,
        Some(Place::Governed | Place::Team) => governed,
    }
}
