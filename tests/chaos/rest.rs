//! What is looked at while all is well, and what is there before and after everything.

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep};

use crate::apiserver::{Answer, ApiServer};
use crate::cluster::Cluster;
use crate::requests::{self, Due, GUARDED, Kind, Place, SHAPES, SOLO};
use crate::tally::{Asked, Tally};
use crate::writers::NAMESPACES;
use crate::{SOON, oracle};

/// How many decisions have to be right at once when everything is over.
const DECISIONS: usize = 30;
/// How long something that can be asked again waits.
const AGAIN: std::time::Duration = std::time::Duration::from_millis(200);

const POLICY: &str = "/apis/plimsoll.dev/v1alpha1/invariantpolicies/team";

/// Makes what is there all the time, and waits until it is known.
pub(crate) fn prepare(runtime: &Runtime, api: &ApiServer, cluster: &mut Cluster) {
    runtime.block_on(async {
        for name in NAMESPACES {
            let governed = Place::of(name) == Some(Place::Governed);
            let labels = if governed { json!({"environment": "production"}) } else { json!({}) };
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": name, "labels": labels}});
            expect(api, "/api/v1/namespaces", &namespace).await;
        }
        let policies = "/apis/plimsoll.dev/v1alpha1/invariantpolicies";
        expect(api, policies, &requests::policy(3, &json!({}))).await;
        for name in NAMESPACES.into_iter().filter(|name| Place::of(name) == Some(Place::Governed)) {
            let guard = requests::budget(GUARDED, GUARDED, &json!({"minAvailable": 2}));
            let there = [
                (Kind::Deployment, requests::deployment(GUARDED, 3)),
                (Kind::Deployment, requests::singleton(SOLO, 1)),
                (Kind::Budget, guard),
            ];
            for (kind, object) in there {
                expect(api, &kind.path(Some(name)), &object).await;
            }
        }
    });
    // Before the first fault every replica has heard of the policy; watches take moments.
    let began = Instant::now();
    let path = format!("{}?dryRun=All", Kind::Deployment.path(Some("team-a")));
    let mut denials = 0;
    while denials < 10 {
        assert!(began.elapsed() < SOON, "the team's policy should be in force");
        let two = requests::deployment("two", 2);
        let answer = runtime.block_on(api.ask("prepare", "POST", &path, &two));
        denials = if matches!(answer, Answer::Denied(_)) { denials + 1 } else { 0 };
        cluster.rest(AGAIN);
    }
}

async fn expect(api: &ApiServer, path: &str, object: &Value) {
    let answer = api.ask("prepare", "POST", path, object).await;
    assert!(matches!(answer, Answer::Done(_)), "{object} should be let in: {answer:?}");
}

/// Holds every object that is stored against what may be.
pub(crate) async fn look_at_the_store(api: &ApiServer, tally: &Tally) {
    for namespace in list(api, "/api/v1/namespaces").await {
        oracle::namespace_fault(&namespace).into_iter().for_each(|fault| tally.object(fault));
    }
    for kind in Kind::ALL {
        let objects = list(api, &kind.path(None)).await;
        tally.looked_at(objects.len());
        for object in &objects {
            let metadata = |key: &str| object["metadata"][key].as_str().unwrap_or_default();
            let name = format!("{}/{}", metadata("namespace"), metadata("name"));
            if let Some(fault) = oracle::fault(kind, object).filter(|_| !tally.is_excused(&name)) {
                tally.object(fault);
            }
        }
    }
}

async fn list(api: &ApiServer, path: &str) -> Vec<Value> {
    loop {
        if let Answer::Done(mut list) = api.get(path).await
            && let Some(items) = list["items"].as_array_mut()
        {
            return std::mem::take(items);
        }
        sleep(AGAIN).await;
    }
}

/// Once everything is over, every decision is the right one.
pub(crate) async fn decide_right_at_once(api: &ApiServer, tally: &Tally) {
    let mut asked = 0;
    for shape in SHAPES.iter().filter(|shape| shape.due != Due::Either).cycle().take(DECISIONS) {
        asked += 1;
        let (id, name) = (format!("end-{asked}"), format!("end-{asked}"));
        let path = format!("{}?dryRun=All", shape.kind.path(Some("gov-a")));
        let began = Instant::now();
        loop {
            let answer = api.ask(&id, "POST", &path, &(shape.make)(&name)).await;
            tally.note(&Asked { id: &id, what: shape.says, due: shape.due }, &answer, 0);
            match answer {
                Answer::Failed(_, reason) if began.elapsed() > SOON => {
                    tally.object(format!("when everything was over, {}: {reason}", shape.says));
                }
                Answer::Failed(..) => continue,
                _ => {}
            }
            break;
        }
    }
}

/// Once everything is over, somebody still says how a policy fares.
pub(crate) async fn a_policy_is_taken_up(api: &ApiServer, tally: &Tally) {
    let policy = requests::policy(3, &json!({"probes": {"action": "Warn"}, "spread": {"action": "Off"}}));
    let path = format!("{POLICY}?fieldManager=chaos&force=true");
    api.ask("end-policy", "APPLY", &path, &policy).await;
    let began = Instant::now();
    loop {
        if let Answer::Done(policy) = api.get(POLICY).await {
            let condition = &policy["status"]["conditions"][0];
            if condition["observedGeneration"] == policy["metadata"]["generation"]
                && condition["status"] == "True"
            {
                return;
            }
            if began.elapsed() > SOON {
                return tally.object(format!("nobody says how the policy fares: {policy}"));
            }
        }
        sleep(AGAIN).await;
    }
}
