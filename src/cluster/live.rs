//! Live reads: what a verdict rests on, read from the API server itself, past every cache.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use thiserror::Error;
use tokio::time::{Instant, timeout};

use super::flights::Flights;
use super::limit::Limit;
use super::request::{self, PAGE, Page, is_name, path};
use super::{Cluster, brief};
use crate::admission::UserInfo;
use crate::engine::Permission;
use crate::facts::{Fact, NamespaceFacts, Owner, Reference};
use crate::metrics::{LiveRead, Metrics};
use crate::object::{Kind, Object, ReadError};
use crate::review::{self, Reading};

/// How many reads are under way at a time, over all requests.
const AT_ONCE: usize = 32;
/// How many reads begin each second in the long run. Identical ones are shared, so it takes denials
/// about as many different objects to get there.
const PER_SECOND: u32 = 300;
/// How many may begin at once after a quiet time.
const BURST: u32 = 300;
/// Nobody waits longer than this for a read.
const LONGEST: Duration = Duration::from_millis(500);

/// Why a fact could not be confirmed.
#[derive(Clone, Debug, Error)]
pub enum LiveError {
    /// The answer did not come in time.
    #[error("the API server did not answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// So many reads were due that this one was not sent.
    #[error("too many facts have to be confirmed at the same time")]
    Limited,
    /// The API server could not be asked, or refused to answer.
    #[error("failed to read {what}: {}", brief(source))]
    Failed {
        /// What was asked for.
        what: String,
        /// What went wrong.
        source: Arc<kube::Error>,
    },
    /// The answer makes no sense.
    #[error("failed to understand {what}: {source}")]
    Unreadable {
        /// What was asked for.
        what: String,
        /// What is wrong with it.
        source: Arc<ReadError>,
    },
}

/// What was found, or why nobody knows.
type Answer = Result<Arc<Vec<Fact>>, LiveError>;

/// Live reads of one process: shared between requests that need the same, and limited. Nothing is
/// remembered.
pub struct LiveReads {
    cluster: Cluster,
    flights: Flights<(String, Reference), Answer>,
    limit: Arc<Limit>,
    metrics: Arc<Metrics>,
}

impl LiveReads {
    /// Reads from a cluster, counted by the metrics.
    pub fn new(cluster: Cluster, metrics: Arc<Metrics>) -> Self {
        let limit = Arc::new(Limit::new(AT_ONCE, PER_SECOND, BURST, LONGEST));
        Self { cluster, flights: Flights::new(), limit, metrics }
    }

    /// What is there of a reference now, absence included: an answer that the API server gave after
    /// this call.
    async fn find(&self, namespace: &str, reference: &Reference, within: Duration) -> Answer {
        let key = (namespace.to_owned(), reference.clone());
        let (flight, is_shared) = self.flights.next(&key, |place| {
            let (cluster, limit) = (self.cluster.clone(), Arc::clone(&self.limit));
            let mut attempt = Attempt { metrics: Arc::clone(&self.metrics), sent: None, ended: None };
            let (namespace, reference) = key.clone();
            async move {
                let Some(_permit) = limit.admit().await else {
                    attempt.end(LiveRead::Limited);
                    return Err(LiveError::Limited);
                };
                place.leave();
                attempt.begin();
                let answer = timeout(LONGEST, cluster.find(&namespace, &reference)).await;
                let answer = answer.unwrap_or(Err(LiveError::TimedOut(LONGEST)));
                attempt.end(match answer {
                    Ok(_) => LiveRead::Answered,
                    Err(LiveError::TimedOut(_)) => LiveRead::TimedOut,
                    Err(_) => LiveRead::Failed,
                });
                answer.map(Arc::new)
            }
        });
        if is_shared {
            self.metrics.live_read(LiveRead::Shared, None);
        }
        timeout(within, flight).await.unwrap_or(Err(LiveError::TimedOut(within)))
    }
}

impl review::Live for LiveReads {
    fn read<'a>(
        &'a self,
        namespace: &'a str,
        references: &'a BTreeSet<Reference>,
        facts: &'a NamespaceFacts,
        within: Duration,
    ) -> BoxFuture<'a, Reading> {
        Box::pin(async move {
            let is_listed = |reference: &Reference| match reference {
                Reference::Object(kind, _) => references.contains(&Reference::All(*kind)),
                Reference::All(_) | Reference::Owner(..) => false,
            };
            let due = references.iter().filter(|reference| !is_listed(reference));
            let reads = due.map(async |reference| (reference, self.find(namespace, reference, within).await));
            let mut reading = Reading { facts: facts.clone(), failed: BTreeMap::new() };
            for (reference, answer) in join_all(reads).await {
                match answer {
                    Ok(found) => reading.facts.replace(reference, found.iter().cloned()),
                    Err(error) => {
                        // A list that failed fails each of its objects.
                        let lost = references
                            .iter()
                            .filter(|r| *r == reference || (r.kind() == reference.kind() && is_listed(r)));
                        let error = review::LiveError(error.to_string());
                        reading.failed.extend(lost.map(|lost| (lost.clone(), error.clone())));
                    }
                }
            }
            reading
        })
    }

    fn may_waive<'a>(
        &'a self,
        user: &'a UserInfo<'a>,
        namespace: &'a str,
        rule: &'static str,
    ) -> BoxFuture<'a, Permission> {
        Box::pin(self.cluster.ask_may_waive(user, namespace, rule))
    }
}

/// Counts a read when it is over, also when it is because nobody waits for it any more.
struct Attempt {
    metrics: Arc<Metrics>,
    sent: Option<Instant>,
    ended: Option<LiveRead>,
}

impl Attempt {
    fn begin(&mut self) {
        self.sent = Some(Instant::now());
    }

    fn end(&mut self, how: LiveRead) {
        self.ended = Some(how);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let ended = self.ended.unwrap_or(LiveRead::TimedOut);
        let took = self.sent.filter(|_| ended == LiveRead::Answered).map(|sent| sent.elapsed().as_secs_f64());
        self.metrics.live_read(ended, took);
    }
}

impl Cluster {
    async fn find(&self, namespace: &str, reference: &Reference) -> Result<Vec<Fact>, LiveError> {
        let (kind, name) = match reference {
            Reference::Object(kind, name) | Reference::Owner(kind, name) => (*kind, Some(name.as_str())),
            Reference::All(Kind::Namespace) => (Kind::Namespace, Some(namespace)),
            Reference::All(kind) => (*kind, None),
        };
        // What no object can be called isn't there, and must not be asked for.
        let askable = name.is_none_or(is_name) && (kind == Kind::Namespace || is_name(namespace));
        if !askable {
            return Ok(Vec::new());
        }
        let path = path(kind, Some(namespace));
        let Some(name) = name else { return self.read_all(kind, namespace, &path).await };
        let what = || format!("{kind} {namespace}/{name}");
        let answer = request::get(self.client(), &path, name).await;
        let text = answer.map_err(|source| LiveError::Failed { what: what(), source: Arc::new(source) })?;
        let read = |text: String| match reference {
            Reference::Owner(..) => read_owner(kind, text, what).map(Some),
            _ => read(kind, &text, what),
        };
        let fact = text.map(read).transpose()?.flatten();
        Ok(fact.into_iter().collect())
    }

    async fn read_all(&self, kind: Kind, namespace: &str, path: &str) -> Result<Vec<Fact>, LiveError> {
        let what = || format!("the {}s of namespace {namespace}", kind.as_str());
        let failed = |source| LiveError::Failed { what: what(), source: Arc::new(source) };
        let mut facts = Vec::new();
        let (mut token, mut text) = (None, String::new());
        loop {
            match request::list(self.client(), path, PAGE, token, &mut text).await {
                Ok(()) => {}
                // Without KEDA there are no ScaledObjects; that is an answer, not a failure.
                Err(error) if request::is_status(&error, 404) && kind == Kind::ScaledObject => {
                    return Ok(Vec::new());
                }
                Err(source) => return Err(failed(source)),
            }
            let page = Page::read(&text).map_err(failed)?;
            for item in &page.items {
                facts.extend(read(kind, item.get(), what)?);
            }
            token = page.next();
            if token.is_none() {
                return Ok(facts);
            }
        }
    }
}

fn read(kind: Kind, text: &str, what: impl Fn() -> String) -> Result<Option<Fact>, LiveError> {
    let unreadable = |source| LiveError::Unreadable { what: what(), source: Arc::new(source) };
    let object = Object::read(kind, text).map_err(unreadable)?;
    Ok(Fact::project(&object))
}

fn read_owner(kind: Kind, text: String, what: impl Fn() -> String) -> Result<Fact, LiveError> {
    let object = Object::read(kind, &text)
        .map_err(|source| LiveError::Unreadable { what: what(), source: Arc::new(source) })?;
    let uid = object.metadata.uid.as_deref().unwrap_or_default().to_owned();
    let name = object.display_name();
    Ok(Fact::Owner(Owner { kind, name, uid, text }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::scripted::scripted;
    use crate::review::Live as _;

    const WITHIN: Duration = Duration::from_millis(500);

    fn claim(name: &str) -> Reference {
        Reference::Object(Kind::PersistentVolumeClaim, name.to_owned())
    }

    async fn read(cluster: Cluster, facts: &NamespaceFacts, references: &[Reference]) -> Reading {
        let reads = LiveReads::new(cluster, Arc::new(Metrics::new("test")));
        reads.read("shop", &references.iter().cloned().collect(), facts, WITHIN).await
    }

    fn only_error(reading: &Reading) -> String {
        assert_eq!(reading.failed.len(), 1, "{:?}", reading.failed);
        reading.failed.values().next().unwrap().to_string()
    }

    #[tokio::test]
    async fn only_what_is_asked_for_is_read_and_replaced() {
        let known = |name: &str| {
            Fact::Claim(crate::facts::Claim { name: name.to_owned(), access_modes: Box::default() })
        };
        let mut facts = NamespaceFacts::default();
        facts.insert(known("gone"));
        facts.insert(known("untouched"));
        let absent = (404, r#"{"status":"Failure","reason":"NotFound","code":404}"#.to_owned());
        let (cluster, asked) = scripted(vec![absent]);
        // The second is no name that the API knows, so it is absent without a question.
        let reading = read(cluster, &facts, &[claim("gone"), claim("../../secrets/x")]).await;
        assert!(reading.failed.is_empty() && reading.facts.claim("gone").is_none());
        assert!(reading.facts.claim("untouched").is_some());
        let asked = asked.lock().unwrap();
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].0, "/api/v1/namespaces/shop/persistentvolumeclaims/gone");
    }

    #[tokio::test]
    async fn an_owner_is_read_as_a_whole() {
        let text = r#"{"metadata":{"name":"tick","uid":"u"},"spec":{"schedule":"0 * * * *"}}"#;
        let (cluster, asked) = scripted(vec![(200, text.to_owned())]);
        let owner = Reference::Owner(Kind::CronJob, "tick".to_owned());
        let reading = read(cluster, &NamespaceFacts::default(), &[owner]).await;
        let owner = reading.facts.owner(Kind::CronJob, "tick").unwrap();
        assert_eq!((owner.uid.as_str(), owner.text.as_str()), ("u", text));
        assert_eq!(asked.lock().unwrap()[0].0, "/apis/batch/v1/namespaces/shop/cronjobs/tick");
    }

    #[tokio::test]
    async fn without_keda_there_are_no_scaled_objects() {
        let absent = || scripted(vec![(404, "404 page not found".to_owned())]).0;
        let facts = NamespaceFacts::default();
        assert!(read(absent(), &facts, &[Reference::All(Kind::ScaledObject)]).await.failed.is_empty());
        let reading = read(absent(), &facts, &[Reference::All(Kind::PodDisruptionBudget)]).await;
        let expected = "failed to read the PodDisruptionBudgets of namespace shop: 404 page not found";
        assert_eq!(only_error(&reading), expected);
    }

    #[tokio::test]
    async fn silence_is_an_error_within_the_time_there_is() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let client = kube::Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap();
        let metrics = Arc::new(Metrics::new("test"));
        let reads = LiveReads::new(Cluster { client, url }, Arc::clone(&metrics));
        let within = Duration::from_millis(50);
        let reading =
            reads.read("shop", &BTreeSet::from([claim("data")]), &NamespaceFacts::default(), within).await;
        assert_eq!(only_error(&reading), "the API server did not answer within 50 ms");
        assert!(metrics.encode().contains(r#"plimsoll_live_reads_total{outcome="timed_out"} 1"#));
    }

    #[tokio::test]
    async fn what_makes_no_sense_confirms_nothing() {
        let (cluster, _) =
            scripted(vec![(200, r#"{"metadata":{"name":"data"},"spec":{"accessModes":7}}"#.to_owned())]);
        let error = only_error(&read(cluster, &NamespaceFacts::default(), &[claim("data")]).await);
        let expected = "failed to understand PersistentVolumeClaim shop/data: spec.accessModes";
        assert!(error.starts_with(expected), "{error}");
    }

    #[tokio::test]
    async fn a_list_covers_its_objects_and_fails_for_them() {
        let references = [
            Reference::Object(Kind::Deployment, "web".to_owned()),
            Reference::All(Kind::Deployment),
            claim("data"),
        ];
        let claim = r#"{"metadata":{"name":"data"},"spec":{"accessModes":["ReadWriteOnce"]}}"#;
        // Two questions, in either order; the answer to one of them is a failure.
        let (cluster, asked) = scripted(vec![(500, "no".to_owned()), (200, claim.to_owned())]);
        let reading = read(cluster, &NamespaceFacts::default(), &references).await;
        let asked: Vec<_> = asked.lock().unwrap().iter().map(|(path, _)| path.clone()).collect();
        assert_eq!(asked.len(), 2, "{asked:?}");
        let failed = if asked[0].contains("claims") { 1 } else { 2 };
        assert_eq!(reading.failed.len(), failed, "{:?}", reading.failed);
    }
}
