//! Live reads: what a verdict rests on, read from the API server itself, past every cache.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};
use thiserror::Error;
use tokio::time::timeout;

use super::request::{self, PAGE, Page, is_name, path};
use super::{Cluster, brief};
use crate::admission::UserInfo;
use crate::engine::Permission;
use crate::facts::{Fact, NamespaceFacts, Owner, Reference};
use crate::object::{Kind, Object, ReadError};
use crate::review;

/// How many reads are under way at a time: enough for what a request rests on to be read at once,
/// and a bound on what one request can make the API server do.
const PARALLEL: usize = 16;

/// Why facts could not be confirmed.
#[derive(Debug, Error)]
pub enum LiveError {
    /// Not every answer came in time.
    #[error("the API server did not answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The API server could not be asked, or refused to answer.
    #[error("failed to read {what}: {}", brief(source))]
    Failed {
        /// What was asked for.
        what: String,
        /// What went wrong.
        source: kube::Error,
    },
    /// The answer makes no sense.
    #[error("failed to understand {what}: {source}")]
    Unreadable {
        /// What was asked for.
        what: String,
        /// What is wrong with it.
        source: ReadError,
    },
}

impl Cluster {
    /// The facts of a namespace with what the references name read anew, absence included. Nothing
    /// else changes, and nothing is remembered.
    ///
    /// # Errors
    /// When a single reference can't be read, or all together take longer than `within`.
    pub async fn read_live(
        &self,
        namespace: &str,
        references: &BTreeSet<Reference>,
        facts: &NamespaceFacts,
        within: Duration,
    ) -> Result<NamespaceFacts, LiveError> {
        let mut reads = Vec::new();
        for reference in references {
            if !is_covered(reference, references) {
                reads.push(async move { Ok((reference, self.read_reference(namespace, reference).await?)) });
            }
        }
        let reads = stream::iter(reads).buffer_unordered(PARALLEL).try_collect::<Vec<_>>();
        let reads = timeout(within, reads).await.map_err(|_| LiveError::TimedOut(within))??;
        let mut facts = facts.clone();
        for (reference, found) in reads {
            match reference {
                Reference::Object(kind, name) => facts.remove(*kind, name),
                Reference::All(Kind::Namespace) => facts.remove(Kind::Namespace, namespace),
                Reference::All(kind) => facts.clear(*kind),
                // Nobody watches these, so there is nothing old to forget.
                Reference::Owner(..) => {}
            }
            for fact in found {
                facts.insert(fact);
            }
        }
        Ok(facts)
    }

    async fn read_reference(&self, namespace: &str, reference: &Reference) -> Result<Vec<Fact>, LiveError> {
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
        let text = answer.map_err(|source| LiveError::Failed { what: what(), source })?;
        let read = |text: String| match reference {
            Reference::Owner(..) => read_owner(kind, text, what).map(Some),
            _ => read(kind, &text, what),
        };
        let fact = text.map(read).transpose()?.flatten();
        Ok(fact.into_iter().collect())
    }

    async fn read_all(&self, kind: Kind, namespace: &str, path: &str) -> Result<Vec<Fact>, LiveError> {
        let what = || format!("the {}s of namespace {namespace}", kind.as_str());
        let failed = |source| LiveError::Failed { what: what(), source };
        let mut facts = Vec::new();
        let mut token = None;
        loop {
            let text = match request::list(self.client(), path, PAGE, token).await {
                Ok(text) => text,
                // Without KEDA there are no ScaledObjects; that is an answer, not a failure.
                Err(error) if request::is_status(&error, 404) && kind == Kind::ScaledObject => {
                    return Ok(Vec::new());
                }
                Err(source) => return Err(failed(source)),
            };
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

impl review::Live for Cluster {
    fn read<'a>(
        &'a self,
        namespace: &'a str,
        references: &'a BTreeSet<Reference>,
        facts: &'a NamespaceFacts,
        within: Duration,
    ) -> BoxFuture<'a, Result<NamespaceFacts, review::LiveError>> {
        Box::pin(async move {
            let facts = self.read_live(namespace, references, facts, within).await;
            facts.map_err(|error| review::LiveError(error.to_string()))
        })
    }

    fn may_waive<'a>(
        &'a self,
        user: &'a UserInfo<'a>,
        namespace: &'a str,
        rule: &'static str,
    ) -> BoxFuture<'a, Permission> {
        Box::pin(self.ask_may_waive(user, namespace, rule))
    }
}

/// Whether another reference brings the object along.
fn is_covered(reference: &Reference, references: &BTreeSet<Reference>) -> bool {
    matches!(reference, Reference::Object(kind, _) if *kind != Kind::Namespace
        && references.contains(&Reference::All(*kind)))
}

fn read(kind: Kind, text: &str, what: impl Fn() -> String) -> Result<Option<Fact>, LiveError> {
    let object = Object::read(kind, text).map_err(|source| LiveError::Unreadable { what: what(), source })?;
    Ok(Fact::project(&object))
}

fn read_owner(kind: Kind, text: String, what: impl Fn() -> String) -> Result<Fact, LiveError> {
    let object =
        Object::read(kind, &text).map_err(|source| LiveError::Unreadable { what: what(), source })?;
    let uid = object.metadata.uid.as_deref().unwrap_or_default().to_owned();
    let name = object.display_name();
    Ok(Fact::Owner(Owner { kind, name, uid, text }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::scripted::scripted;

    const BUDGET: Duration = Duration::from_millis(500);

    fn claim(name: &str) -> Reference {
        Reference::Object(Kind::PersistentVolumeClaim, name.to_owned())
    }

    #[tokio::test]
    async fn only_what_is_asked_for_is_read_and_replaced() {
        let known =
            |name: &str| Fact::Claim(crate::facts::Claim { name: name.to_owned(), access_modes: Vec::new() });
        let mut facts = NamespaceFacts::default();
        facts.insert(known("gone"));
        facts.insert(known("untouched"));
        let absent = (404, r#"{"status":"Failure","reason":"NotFound","code":404}"#.to_owned());
        let (cluster, asked) = scripted(vec![absent]);
        // The second is no name that the API knows, so it is absent without a question.
        let references = BTreeSet::from([claim("gone"), claim("../../secrets/x")]);
        let read = cluster.read_live("shop", &references, &facts, BUDGET).await.unwrap();
        assert!(read.claim("gone").is_none());
        assert!(read.claim("untouched").is_some());
        let asked = asked.lock().unwrap();
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].0, "/api/v1/namespaces/shop/persistentvolumeclaims/gone");
    }

    #[tokio::test]
    async fn an_owner_is_read_as_a_whole() {
        let text = r#"{"metadata":{"name":"tick","uid":"u"},"spec":{"schedule":"0 * * * *"}}"#;
        let (cluster, asked) = scripted(vec![(200, text.to_owned())]);
        let references = BTreeSet::from([Reference::Owner(Kind::CronJob, "tick".to_owned())]);
        let read = cluster.read_live("shop", &references, &NamespaceFacts::default(), BUDGET).await.unwrap();
        let owner = read.owner(Kind::CronJob, "tick").unwrap();
        assert_eq!((owner.uid.as_str(), owner.text.as_str()), ("u", text));
        assert_eq!(asked.lock().unwrap()[0].0, "/apis/batch/v1/namespaces/shop/cronjobs/tick");
    }

    #[tokio::test]
    async fn without_keda_there_are_no_scaled_objects() {
        let (cluster, _) = scripted(vec![(404, "404 page not found".to_owned())]);
        let references = BTreeSet::from([Reference::All(Kind::ScaledObject)]);
        assert!(cluster.read_live("shop", &references, &NamespaceFacts::default(), BUDGET).await.is_ok());
        let (cluster, _) = scripted(vec![(404, "404 page not found".to_owned())]);
        let references = BTreeSet::from([Reference::All(Kind::PodDisruptionBudget)]);
        let error =
            cluster.read_live("shop", &references, &NamespaceFacts::default(), BUDGET).await.unwrap_err();
        let expected = "failed to read the PodDisruptionBudgets of namespace shop: 404 page not found";
        assert_eq!(error.to_string(), expected);
    }

    #[tokio::test]
    async fn silence_is_an_error_within_the_budget() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let client = kube::Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap();
        let cluster = Cluster { client, url };
        let references = BTreeSet::from([claim("data")]);
        let within = Duration::from_millis(50);
        let error =
            cluster.read_live("shop", &references, &NamespaceFacts::default(), within).await.unwrap_err();
        assert_eq!(error.to_string(), "the API server did not answer within 50 ms");
    }

    #[tokio::test]
    async fn what_makes_no_sense_confirms_nothing() {
        let (cluster, _) =
            scripted(vec![(200, r#"{"metadata":{"name":"data"},"spec":{"accessModes":7}}"#.to_owned())]);
        let references = BTreeSet::from([claim("data")]);
        let error =
            cluster.read_live("shop", &references, &NamespaceFacts::default(), BUDGET).await.unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("failed to understand PersistentVolumeClaim shop/data: spec.accessModes")
        );
    }

    #[test]
    fn a_list_covers_its_objects() {
        let one = Reference::Object(Kind::Deployment, "web".to_owned());
        let references = BTreeSet::from([one.clone(), Reference::All(Kind::Deployment)]);
        assert!(is_covered(&one, &references));
        assert!(!is_covered(&Reference::All(Kind::Deployment), &references));
        assert!(!is_covered(&Reference::Object(Kind::StatefulSet, "web".to_owned()), &references));
    }
}
