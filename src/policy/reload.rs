//! The policies in force: read at start, read again when their files change, joined by the cluster's.
//!
//! Files are polled by content. A ConfigMap's files are replaced by swapping a symlink, which file
//! watches miss after the first time; reading a few small files every few seconds costs nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::Value;
use tracing::{error, info};

use super::load::{LoadError, from_texts, resource, shipped};
use super::{Policy, load};
use crate::manifest::files::collect;

/// How often the files are read.
pub const POLL: Duration = Duration::from_secs(5);

/// The policies in force, shared with the requests that are judged by them.
#[derive(Clone, Debug)]
pub struct Policies {
    current: Arc<ArcSwap<Vec<Policy>>>,
    sources: Arc<Mutex<Sources>>,
    paths: Arc<[PathBuf]>,
}

/// What the policies in force were made from, each in its last good version.
#[derive(Debug, Default)]
struct Sources {
    files: Vec<(String, String)>,
    /// Whether the files are the shipped ones, which an object of the same name replaces.
    are_shipped: bool,
    objects: BTreeMap<String, Value>,
}

impl Policies {
    /// Reads the policies of the given files and directories, or the shipped ones if there are none.
    ///
    /// # Errors
    /// When one of them isn't right: nothing is served with half a set.
    pub fn load(paths: Vec<PathBuf>) -> Result<Self, LoadError> {
        let are_shipped = paths.is_empty();
        let files = if are_shipped { shipped() } else { load::texts(&paths)? };
        let sources = Sources { files, are_shipped, objects: BTreeMap::new() };
        let current = Arc::new(ArcSwap::from_pointee(sources.compile()?));
        Ok(Self { current, sources: Arc::new(Mutex::new(sources)), paths: paths.into() })
    }

    /// The policies in force.
    pub fn current(&self) -> Arc<Vec<Policy>> {
        self.current.load_full()
    }

    /// What is wrong with an `InvariantPolicy` of the cluster, each thing with its path; nothing if it
    /// could be in force.
    pub fn faults(&self, object: &Value) -> Vec<String> {
        let policy = match resource(object) {
            Ok(policy) => policy,
            Err(faults) => return faults,
        };
        let sources = self.sources();
        let file = sources.file_of(&policy.name).filter(|_| !sources.are_shipped);
        file.map(|file| format!("metadata.name: policy {:?} is already defined in {file}", policy.name))
            .into_iter()
            .collect()
    }

    /// Puts an `InvariantPolicy` of the cluster in force. One that isn't right is refused, and its last
    /// good version, if it has one, stays.
    ///
    /// # Errors
    /// What is wrong, and what is in force instead.
    pub fn apply(&self, name: &str, object: &Value) -> Result<(), String> {
        let faults = self.faults(object);
        if !faults.is_empty() {
            let instead = match self.sources().objects.get(name) {
                Some(_) => "; its last good version stays in force",
                None => "",
            };
            return Err(format!("{}{instead}", faults.join("; ")));
        }
        let mut sources = self.sources();
        sources.objects.insert(name.to_owned(), object.clone());
        self.take_up(&sources).map_err(|error| error.to_string())
    }

    /// Keeps only these of the cluster's policies.
    pub fn retain(&self, names: &BTreeSet<String>) {
        let mut sources = self.sources();
        sources.objects.retain(|name, _| names.contains(name));
        if let Err(error) = self.take_up(&sources) {
            error!(%error, "The policies that are left can't be used.");
        }
    }

    /// The names of the cluster's policies in force.
    pub fn objects(&self) -> BTreeSet<String> {
        self.sources().objects.keys().cloned().collect()
    }

    fn take_up(&self, sources: &Sources) -> Result<(), LoadError> {
        self.current.store(Arc::new(sources.compile()?));
        Ok(())
    }

    /// Sources are changed whole, so a poisoned lock is as good as any.
    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the files again whenever they change. A bad set is refused as a whole: the last good one
    /// stays in force, and `report` is told.
    pub async fn keep_fresh(self, every: Duration, report: impl Fn(bool) + Send) {
        if self.paths.is_empty() {
            return std::future::pending().await;
        }
        let mut seen = collect(&self.paths).ok();
        let mut interval = tokio::time::interval(every);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let paths = Arc::clone(&self.paths);
            let Ok(files) = tokio::task::spawn_blocking(move || collect(&paths)).await else { continue };
            let files = match files {
                Ok(files) if seen.as_ref() == Some(&files) => continue,
                Ok(files) => files,
                Err(error) if seen.is_some() => {
                    seen = None;
                    error!(%error, "Policies can't be read; the last good set stays in force.");
                    report(false);
                    continue;
                }
                Err(_) => continue,
            };
            match self.replace_files(&files) {
                Ok(0) => {
                    error!("The policy files hold no policy; the last good set stays in force.");
                    report(false);
                }
                Ok(policies) => {
                    info!(policies, "Policies reloaded.");
                    report(true);
                }
                Err(error) => {
                    error!(%error, "Policies are wrong; the last good set stays in force.");
                    report(false);
                }
            }
            seen = Some(files);
        }
    }

    /// How many policies are in the files; with none they are not taken up.
    fn replace_files(&self, files: &[(String, String)]) -> Result<usize, LoadError> {
        let policies = from_texts(files)?.len();
        if policies > 0 {
            let mut sources = self.sources();
            let old = std::mem::replace(&mut sources.files, files.to_vec());
            if let Err(error) = self.take_up(&sources) {
                sources.files = old;
                return Err(error);
            }
        }
        Ok(policies)
    }
}

impl Sources {
    fn compile(&self) -> Result<Vec<Policy>, LoadError> {
        let mut policies = from_texts(&self.files)?;
        if self.are_shipped {
            policies.retain(|policy| !self.objects.contains_key(&policy.name));
        }
        for object in self.objects.values() {
            let policy = resource(object).map_err(LoadError::Object)?;
            if policies.iter().any(|other| other.name == policy.name) {
                let problem = format!("policy {:?} is one of the cluster's already", policy.name);
                return Err(LoadError::Object(vec![problem]));
            }
            policies.push(policy);
        }
        Ok(policies)
    }

    fn file_of(&self, name: &str) -> Option<&str> {
        let defines = |text: &(String, String)| {
            let policies = from_texts(std::slice::from_ref(text));
            policies.is_ok_and(|policies| policies.iter().any(|policy| policy.name == name))
        };
        self.files.iter().find(|text| defines(text)).map(|(file, _)| file.as_str())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(name: &str, rules: &Value) -> Value {
        json!({
            "apiVersion": "plimsoll.dev/v1alpha1", "kind": "InvariantPolicy",
            "metadata": {"name": name, "uid": "7", "creationTimestamp": "2026-11-01T10:00:00Z"},
            "spec": {"rules": rules},
        })
    }

    fn names(policies: &Policies) -> Vec<String> {
        policies.current().iter().map(|policy| policy.name.clone()).collect()
    }

    #[test]
    fn an_object_joins_the_files_and_a_bad_version_leaves_the_last_good_one() {
        let policies = Policies::load(Vec::new()).unwrap();
        let shipped = names(&policies).len();
        policies.apply("shop", &object("shop", &json!({"min-replicas": {"minimum": 3}}))).unwrap();
        assert_eq!(names(&policies).len(), shipped + 1);
        let in_force = |policies: &Policies| {
            policies.current().iter().find(|policy| policy.name == "shop").map(|policy| policy.rules.len())
        };
        let error = policies.apply("shop", &object("shop", &json!({"min-replica": {}}))).unwrap_err();
        assert_eq!(
            error,
            "spec.rules.min-replica: unknown rule \"min-replica\"; did you mean \"min-replicas\"?; its last good version stays in force"
        );
        assert_eq!(in_force(&policies), Some(1));
        policies.retain(&BTreeSet::new());
        assert_eq!((in_force(&policies), names(&policies).len()), (None, shipped));
    }

    #[test]
    fn an_object_replaces_a_shipped_policy_but_none_of_a_file() {
        let policies = Policies::load(Vec::new()).unwrap();
        let before = names(&policies).len();
        let own = object("production", &json!({"probes": {}}));
        policies.apply("production", &own).unwrap();
        assert_eq!(names(&policies).len(), before);
        policies.retain(&BTreeSet::new());
        assert_eq!(names(&policies).len(), before, "the shipped one is back");

        let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        std::fs::write(file.path(), own.to_string()).unwrap();
        let policies = Policies::load(vec![file.path().to_owned()]).unwrap();
        let error = policies.apply("production", &own).unwrap_err();
        assert!(error.starts_with("metadata.name: policy \"production\" is already defined in "), "{error}");
    }

    #[test]
    fn an_object_without_since_counts_from_its_creation() {
        let policies = Policies::load(Vec::new()).unwrap();
        policies.apply("shop", &object("shop", &json!({"probes": {}}))).unwrap();
        let current = policies.current();
        let policy = current.iter().find(|policy| policy.name == "shop").unwrap();
        assert_eq!(policy.since.unwrap().to_string(), "2026-11-01T10:00:00Z");
    }
}
