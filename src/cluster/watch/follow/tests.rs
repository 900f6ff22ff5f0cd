//! Watches against an API server that is a script: what a real one does only on bad days.

use std::net::TcpListener;
use std::sync::Mutex;

use super::*;
use crate::cluster::scripted::{Answer, scripted};

const EMPTY: &str = r#"{"metadata":{"resourceVersion":"1"},"items":[]}"#;
const WEB: &str = r#"{"metadata":{"name":"web","namespace":"shop","resourceVersion":"5"},"spec":{}}"#;

#[derive(Default)]
struct Diary(Mutex<Vec<String>>);

impl Observer for Diary {
    fn synced(&self, kind: Kind) {
        self.0.lock().unwrap().push(format!("{kind} synced"));
    }

    fn heard(&self, _: Kind, objects: usize, _: Timestamp) {
        self.0.lock().unwrap().push(format!("{objects}"));
    }

    fn failed(&self, _: Kind, error: &WatchError) {
        self.0.lock().unwrap().push(error.to_string());
    }
}

/// Runs one watch until the script has been asked so often, and returns what was asked and observed.
async fn run(kind: Kind, answers: Vec<Answer>) -> (Vec<String>, Vec<String>, Arc<Facts>) {
    let expected = answers.len();
    let (cluster, asked) = scripted(answers);
    let (facts, diary) = (Arc::new(Facts::default()), Arc::new(Diary::default()));
    let observer: Arc<dyn Observer> = diary.clone();
    let watch = Watch::new(cluster.client().clone(), kind, Arc::clone(&facts), observer);
    let task = tokio::spawn(watch.run());
    while asked.lock().unwrap().len() < expected {
        sleep(Duration::from_millis(10)).await;
    }
    sleep(Duration::from_millis(200)).await;
    task.abort();
    let asked =
        asked.lock().unwrap().iter().map(|(path, _)| path.rsplit('/').next().unwrap().to_owned()).collect();
    let seen = diary.0.lock().unwrap().clone();
    (asked, seen, facts)
}

fn event(kind: &str, object: &str) -> String {
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")
}

fn resumed(path: &str) -> Option<&str> {
    path.contains("watch=true").then(|| path.rsplit("resourceVersion=").next().unwrap())
}

#[tokio::test]
async fn a_bookmark_is_a_sign_of_life_and_where_to_go_on() {
    let bookmark = r#"{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"resourceVersion":"9"}}"#;
    let first = event("ADDED", WEB) + &event("BOOKMARK", bookmark);
    let now = EMPTY.replace('1', "12");
    let answers = vec![(200, EMPTY.to_owned()), (200, first), (200, now), (200, event("DELETED", WEB))];
    let (asked, seen, facts) = run(Kind::Deployment, answers).await;
    assert_eq!([asked[0].as_str(), asked[2].as_str()], ["deployments?&limit=100", "deployments?&limit=1"]);
    assert_eq!((resumed(&asked[1]), resumed(&asked[3])), (Some("1"), Some("9")));
    assert_eq!(seen[..7], ["Deployment synced", "0", "0", "1", "1", "1", "0"]);
    assert_eq!(facts.count(Kind::Deployment), 0);
}

#[tokio::test]
async fn it_lists_again_when_the_api_server_forgot_the_changes() {
    let gone = r#"{"kind":"Status","status":"Failure","message":"too old","reason":"Expired","code":410}"#;
    let forgot = event("ADDED", WEB) + &event("ERROR", gone);
    let answers =
        vec![(200, EMPTY.to_owned()), (200, forgot), (200, EMPTY.to_owned()), (200, event("ADDED", WEB))];
    let (asked, seen, _) = run(Kind::Deployment, answers).await;
    assert_eq!((resumed(&asked[2]), resumed(&asked[3])), (None, Some("1")));
    assert!(seen.contains(&"the API server gave up the watch: too old".to_owned()), "{seen:?}");
    assert_eq!(seen[4..6], ["the API server gave up the watch: too old", "0"]);
}

#[test]
fn an_outage_that_is_over_is_not_waited_for() {
    let none = Duration::ZERO;
    let after_an_outage = || {
        let mut backoff = DefaultBackoff::default();
        for _ in 0..6 {
            pause(&mut backoff, &WatchError::Silent, true, none);
        }
        backoff
    };
    let gone = WatchError::GivenUp { code: 410, message: "too old".to_owned() };
    let shortest = Duration::from_secs(2);
    assert!(pause(&mut after_an_outage(), &gone, true, none) < shortest);
    assert!(pause(&mut after_an_outage(), &WatchError::Silent, true, STEADY) < shortest);
    // One that goes on is, and so is a watch that is refused although its list is fresh.
    assert!(pause(&mut after_an_outage(), &WatchError::Silent, true, none) > shortest);
    assert!(pause(&mut after_an_outage(), &gone, false, none) > shortest);
}

#[tokio::test]
async fn a_broken_event_is_made_up_for_by_a_list() {
    let answers = vec![(200, EMPTY.to_owned()), (200, "{\"type\":7}\n".to_owned()), (200, EMPTY.to_owned())];
    let (asked, seen, _) = run(Kind::Deployment, answers).await;
    assert_eq!(resumed(&asked[2]), None);
    assert!(seen.iter().any(|line| line.starts_with("failed to go on watching")), "{seen:?}");
}

#[tokio::test]
async fn a_refused_watch_is_not_made_up_for_by_lists() {
    let forbidden = r#"{"kind":"Status","status":"Failure","message":"no","reason":"Forbidden","code":403}"#;
    let forbidden = || (403, forbidden.to_owned());
    let answers = vec![(200, EMPTY.to_owned()), forbidden(), (200, EMPTY.to_owned()), forbidden()];
    let (asked, seen, _) = run(Kind::Deployment, answers).await;
    assert_eq!((resumed(&asked[1]), resumed(&asked[3])), (Some("1"), Some("1")));
    assert_eq!(asked[2], "deployments?&limit=1");
    assert!(seen.contains(&"failed to start watching: no".to_owned()), "{seen:?}");
}

#[tokio::test]
async fn it_lists_again_when_the_api_server_has_gone_back_in_time() {
    let later = EMPTY.replace('1', "700");
    let answers = vec![(200, later), (200, event("ADDED", WEB).replace('5', "701")), (200, EMPTY.to_owned())];
    let answers = [answers, vec![(200, EMPTY.to_owned())]].concat();
    let (asked, seen, facts) = run(Kind::Deployment, answers).await;
    assert_eq!([asked[2].as_str(), asked[3].as_str()], ["deployments?&limit=1", "deployments?&limit=100"]);
    assert!(
        seen.contains(&"the API server has gone back in time, from version 701 to 1".to_owned()),
        "{seen:?}"
    );
    assert_eq!(facts.count(Kind::Deployment), 0);
}

#[tokio::test]
async fn a_watch_that_ends_at_once_is_no_busy_loop() {
    let answers = vec![(200, EMPTY.to_owned()), (200, String::new())];
    let (_, seen, _) = run(Kind::Deployment, answers).await;
    assert_eq!(seen.last().unwrap(), "the watch ended at once");
}

#[tokio::test]
async fn only_keda_may_be_absent() {
    let absent = vec![(404, "404 page not found".to_owned())];
    let (_, seen, _) = run(Kind::ScaledObject, absent.clone()).await;
    assert_eq!(seen, ["ScaledObject synced", "0"]);
    let (_, seen, _) = run(Kind::Deployment, absent).await;
    assert_eq!(seen, ["failed to list: 404 page not found"]);
}

#[tokio::test]
async fn a_list_comes_in_pages() {
    let page = format!(r#"{{"metadata":{{"resourceVersion":"1","continue":"more"}},"items":[{WEB}]}}"#);
    let last = format!(r#"{{"metadata":{{"resourceVersion":"1"}},"items":[{}]}}"#, WEB.replace("web", "api"));
    let (asked, seen, facts) = run(Kind::Deployment, vec![(200, page), (200, last)]).await;
    assert_eq!(asked[1], "deployments?&limit=100&continue=more");
    assert_eq!(seen[..2], ["Deployment synced", "2"]);
    assert_eq!(facts.count(Kind::Deployment), 2);
}

#[tokio::test]
async fn a_kind_is_current_while_its_watch_runs() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = kube::Client::try_from(kube::Config::new(
        format!("http://{}", silent.local_addr().unwrap()).parse().unwrap(),
    ))
    .unwrap();
    let facts = Arc::new(Facts::default());
    let observer: Arc<dyn Observer> = Arc::new(Diary::default());
    let mut watch = Watch::new(client, Kind::Deployment, Arc::clone(&facts), observer);
    assert!(!facts.is_current(Kind::Deployment), "nothing has been heard yet");
    watch.heard();
    assert!(facts.is_current(Kind::Deployment) && facts.is_current(Kind::StatefulSet));
    watch.failed(&WatchError::Silent);
    assert!(!facts.is_current(Kind::Deployment) && facts.is_current(Kind::StatefulSet));
}
