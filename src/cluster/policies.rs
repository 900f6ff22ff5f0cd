//! The `InvariantPolicy` objects of the cluster: followed, and told how they fare.

use std::collections::BTreeSet;

use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};

use super::{Cluster, InspectError, brief, request};
use crate::policy::crd;

/// Where they are.
const PATH: &str = "/apis/plimsoll.dev/v1alpha1/invariantpolicies";

/// Those that a cluster has now, as JSON; none if it doesn't know the kind.
///
/// # Errors
/// When they can't be read.
pub async fn installed(cluster: &Cluster) -> Result<Vec<Value>, InspectError> {
    match cluster.inspect(PATH, None).await {
        Err(InspectError::Unknown(_)) => Ok(Vec::new()),
        outcome => outcome,
    }
}

/// What is heard of them.
#[derive(Debug)]
pub enum Heard {
    /// This one is there, as JSON.
    Applied(String, Value),
    /// This one is gone.
    Deleted(String),
    /// These are all that there are; each was told before.
    Listed(BTreeSet<String>),
    /// The watch was interrupted and will try again.
    Failed(String),
}

/// The cluster's policies.
#[derive(Clone)]
pub struct PolicyObjects(Api<DynamicObject>);

impl PolicyObjects {
    /// Those of a cluster.
    pub fn new(cluster: &Cluster) -> Self {
        let resource = ApiResource {
            group: crd::GROUP.to_owned(),
            version: crd::VERSION.to_owned(),
            api_version: format!("{}/{}", crd::GROUP, crd::VERSION),
            kind: "InvariantPolicy".to_owned(),
            plural: crd::PLURAL.to_owned(),
        };
        Self(Api::all_with(cluster.client().clone(), &resource))
    }

    /// What is heard of them, for ever. A cluster without the CustomResourceDefinition has none.
    pub fn follow(&self) -> BoxStream<'static, Heard> {
        let mut listed = BTreeSet::new();
        let events = watcher(self.0.clone(), watcher::Config::default()).default_backoff();
        let heard = events.filter_map(move |event| {
            let heard = match event {
                Ok(watcher::Event::Init) => {
                    listed.clear();
                    None
                }
                Ok(watcher::Event::InitApply(object)) => {
                    let applied = applied(object);
                    if let Some(Heard::Applied(name, _)) = &applied {
                        listed.insert(name.clone());
                    }
                    applied
                }
                Ok(watcher::Event::InitDone) => Some(Heard::Listed(std::mem::take(&mut listed))),
                Ok(watcher::Event::Apply(object)) => applied(object),
                Ok(watcher::Event::Delete(object)) => object.metadata.name.map(Heard::Deleted),
                Err(watcher::Error::InitialListFailed(error)) if request::is_status(&error, 404) => {
                    Some(Heard::Listed(BTreeSet::new()))
                }
                Err(error) => Some(Heard::Failed(describe(&error))),
            };
            futures::future::ready(heard)
        });
        heard.boxed()
    }

    /// Writes the condition Ready into a policy's status unless it is there already. `problem` is why
    /// it isn't in force as it stands.
    ///
    /// # Errors
    /// When it can't be written; in the API server's words.
    pub async fn tell(&self, object: &Value, problem: Option<&str>) -> Result<(), String> {
        let generation = object.pointer("/metadata/generation").and_then(Value::as_i64);
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let (status, reason, message) = match problem {
            None => ("True", "InForce", "requests are judged by it"),
            Some(problem) => ("False", "Invalid", problem),
        };
        let current = object.pointer("/status/conditions/0").cloned().unwrap_or_default();
        let said = |field| current.get(field).and_then(Value::as_str);
        let is_told = said("status") == Some(status)
            && said("message") == Some(message)
            && current.get("observedGeneration").and_then(Value::as_i64) == generation;
        if is_told {
            return Ok(());
        }
        let since = match said("lastTransitionTime") {
            Some(since) if said("status") == Some(status) => since.to_owned(),
            _ => Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        };
        let condition = json!({
            "type": "Ready", "status": status, "reason": reason, "message": message,
            "observedGeneration": generation, "lastTransitionTime": since,
        });
        let status = json!({"status": {"observedGeneration": generation, "conditions": [condition]}});
        let params = PatchParams { field_manager: Some("plimsoll".to_owned()), ..PatchParams::default() };
        match self.0.patch_status(name, &params, &Patch::Merge(&status)).await {
            Ok(_) => Ok(()),
            // It went in the meantime.
            Err(error) if request::is_status(&error, 404) => Ok(()),
            Err(error) => Err(brief(&error)),
        }
    }
}

fn applied(object: DynamicObject) -> Option<Heard> {
    let name = object.metadata.name.clone()?;
    Some(Heard::Applied(name, serde_json::to_value(object).ok()?))
}

fn describe(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => brief(error),
        watcher::Error::WatchError(status) => status.message.clone(),
        other => other.to_string(),
    }
}
