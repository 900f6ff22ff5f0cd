//! Whole lists, page by page: what a scan reads.
//!
//! A page is handed on object by object and dropped, so that a cluster of any size takes the memory
//! of one page and of what is kept of it.

use thiserror::Error;

use super::request::{self, Page, SMALL_PAGE, path};
use super::{Cluster, WATCHED, brief};
use crate::facts::{Fact, Facts};
use crate::object::{Kind, Object, ReadError};

/// Why a list could not be read to its end.
#[derive(Debug, Error)]
pub enum ListError {
    /// The user may not list the kind.
    #[error("may not list {} {scope}: {message}", resource(*kind))]
    Forbidden {
        /// The kind.
        kind: Kind,
        /// `in namespace shop` or `in all namespaces`.
        scope: String,
        /// The API server's words.
        message: String,
    },
    /// The API server could not be asked, or refused to answer.
    #[error("failed to list {} {scope}: {}", resource(*kind), brief(source))]
    Failed {
        /// The kind.
        kind: Kind,
        /// `in namespace shop` or `in all namespaces`.
        scope: String,
        /// What went wrong.
        source: kube::Error,
    },
}

impl ListError {
    /// The kind that may not be listed, if that is what is wrong.
    pub fn forbidden(&self) -> Option<Kind> {
        match self {
            Self::Forbidden { kind, .. } => Some(*kind),
            Self::Failed { .. } => None,
        }
    }
}

/// The facts of a cluster at about one time, and what could not be taken into them.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The facts.
    pub facts: Facts,
    /// Objects that could not be read: kind, namespace and name, and why.
    pub unreadable: Vec<(Kind, String, ReadError)>,
}

/// A resource as RBAC names it: `deployments.apps`.
pub fn resource(kind: Kind) -> String {
    match kind.group() {
        "" => kind.plural().to_owned(),
        group => format!("{}.{group}", kind.plural()),
    }
}

impl Cluster {
    /// Hands every object of a kind, in one namespace or in all, to `each` as JSON text. A cluster
    /// that doesn't know ScaledObjects has none of them; without any other kind something is wrong.
    ///
    /// # Errors
    /// When a page can't be read. What `each` was given by then is no whole list.
    pub async fn list(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        mut each: impl FnMut(&str),
    ) -> Result<(), ListError> {
        let scope = || match namespace {
            Some(namespace) => format!("in namespace {namespace}"),
            None => "in all namespaces".to_owned(),
        };
        let failed = |source| ListError::Failed { kind, scope: scope(), source };
        let refused = |error| match error {
            kube::Error::Api(status) if status.code == 403 => {
                let message = brief(&kube::Error::Api(status));
                ListError::Forbidden { kind, scope: scope(), message }
            }
            error => failed(error),
        };
        let path = path(kind, namespace);
        // Who may see one namespace need not be allowed to list them all.
        if let (Kind::Namespace, Some(namespace)) = (kind, namespace) {
            let text = request::get(self.client(), &path, namespace).await.map_err(refused)?;
            text.iter().for_each(|text| each(text));
            return Ok(());
        }
        let (mut token, mut text) = (None, String::new());
        loop {
            match request::list(self.client(), &path, SMALL_PAGE, token, &mut text).await {
                Ok(()) => {}
                Err(error) if request::is_status(&error, 404) && kind == Kind::ScaledObject => return Ok(()),
                // The version of the first page is no longer kept. The API server says how to go on
                // from the same name at a newer one (`handleListError` in apiserver/pkg/storage/etcd3).
                Err(error) => match resume(&error) {
                    Some(next) => {
                        token = Some(next);
                        continue;
                    }
                    None => return Err(refused(error)),
                },
            }
            let page = Page::read(&text).map_err(failed)?;
            page.items.iter().for_each(|item| each(item.get()));
            token = page.next();
            if token.is_none() {
                return Ok(());
            }
        }
    }

    /// The facts of one namespace or of all, read kind by kind. The lists are of different instants,
    /// as those of watches are; each of them is of one. Beside what is watched these are ReplicaSets that
    /// nothing made: a request that is about one has it read live.
    ///
    /// # Errors
    /// What is wrong with each kind that could not be listed.
    pub async fn snapshot(
        &self,
        namespace: Option<&str>,
        mut progress: impl FnMut(Kind, usize),
    ) -> Result<Snapshot, Vec<ListError>> {
        let mut snapshot = Snapshot::default();
        let mut errors = Vec::new();
        for kind in WATCHED.into_iter().chain([Kind::ReplicaSet]) {
            let mut count = 0;
            let listed = self.list(kind, namespace, |text| {
                snapshot.take(kind, text);
                count += 1;
                progress(kind, count);
            });
            errors.extend(listed.await.err());
        }
        if errors.is_empty() { Ok(snapshot) } else { Err(errors) }
    }
}

impl Snapshot {
    fn take(&mut self, kind: Kind, text: &str) {
        match Object::read(kind, text) {
            Ok(object) => {
                let Some(fact) = Fact::project(&object) else { return };
                if kind == Kind::ReplicaSet && object.metadata.controller().is_some() {
                    return;
                }
                let name = object.display_name();
                let home = if kind == Kind::Namespace {
                    name
                } else {
                    object.metadata.namespace.as_deref().unwrap_or_default().to_owned()
                };
                self.facts.update(&home, |facts| facts.insert(fact));
            }
            Err(error) => self.unreadable.push((kind, identify(text), error)),
        }
    }
}

/// Namespace and name of an object of which nothing else need be readable.
pub fn identify(text: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let field = |name: &str| {
        value.pointer(&format!("/metadata/{name}")).and_then(|field| field.as_str()).unwrap_or_default()
    };
    match field("namespace") {
        "" => field("name").to_owned(),
        namespace => format!("{namespace}/{}", field("name")),
    }
}

fn resume(error: &kube::Error) -> Option<String> {
    let kube::Error::Api(status) = error else { return None };
    let token = status.metadata.as_ref().filter(|_| status.code == 410)?.continue_.clone()?;
    (!token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::scripted::scripted;

    fn page(next: &str, names: &[&str]) -> (u16, String) {
        let items = names.iter().map(|name| {
            format!(r#"{{"metadata":{{"name":"{name}","namespace":"shop"}},"spec":{{"replicas":2}}}}"#)
        });
        let items: Vec<String> = items.collect();
        (200, format!(r#"{{"metadata":{{"continue":"{next}"}},"items":[{}]}}"#, items.join(",")))
    }

    #[tokio::test]
    async fn a_list_whose_version_has_gone_goes_on_where_it_was() {
        let gone = r#"{"kind":"Status","status":"Failure","reason":"Expired","code":410,"metadata":{"continue":"later"}}"#;
        let (cluster, asked) =
            scripted(vec![page("one", &["a", "b"]), (410, gone.to_owned()), page("", &["c"])]);
        let mut names = Vec::new();
        cluster.list(Kind::Deployment, None, |text| names.push(identify(text))).await.unwrap();
        assert_eq!(names, ["shop/a", "shop/b", "shop/c"]);
        let asked = asked.lock().unwrap();
        assert!(asked[2].0.contains("continue=later"), "{}", asked[2].0);
    }

    #[tokio::test]
    async fn every_kind_that_may_not_be_listed_is_named() {
        let no = |resource: &str| {
            let message = format!("{resource} is forbidden: User \"x\" cannot list resource");
            (403, format!(r#"{{"status":"Failure","message":{message:?},"reason":"Forbidden","code":403}}"#))
        };
        let empty = || page("", &[]);
        let answers =
            vec![empty(), no("deployments.apps"), empty(), empty(), no("budgets"), empty(), empty(), empty()];
        let (cluster, _) = scripted(answers);
        let errors = cluster.snapshot(None, |_, _| {}).await.unwrap_err();
        let forbidden: Vec<_> = errors.iter().filter_map(ListError::forbidden).collect();
        assert_eq!(forbidden, [Kind::Deployment, Kind::PodDisruptionBudget]);
        let words = errors[0].to_string();
        assert!(
            words.starts_with("may not list deployments.apps in all namespaces: deployments.apps is"),
            "{words}"
        );
    }

    #[tokio::test]
    async fn without_keda_a_snapshot_is_whole() {
        let mut answers: Vec<_> = (0..6).map(|_| page("", &["web"])).collect();
        answers.extend([(404, "404 page not found".to_owned()), page("", &["bare"])]);
        let (cluster, _) = scripted(answers);
        let snapshot = cluster.snapshot(None, |_, _| {}).await.unwrap();
        let facts = snapshot.facts.namespace("shop");
        assert_eq!(facts.workload(Kind::Deployment, "web").unwrap().replicas, 2);
        assert!(facts.workload(Kind::ReplicaSet, "bare").is_some(), "an autoscaler may be about it");
    }
}
