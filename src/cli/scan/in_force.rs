//! The policies to judge by: what a server with the same files has in force.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use super::super::print;
use crate::cluster::{Cluster, InspectError, policies};
use crate::policy::Policy;
use crate::policy::reload::Policies;
use crate::render::report::{Origin, PolicyOrigin};

/// Policies, and where each is from.
pub(super) struct InForce {
    pub(super) policies: Arc<Vec<Policy>>,
    pub(super) origins: Vec<PolicyOrigin>,
}

impl InForce {
    /// The policies of the files, or the shipped ones if there are none; with the cluster's own
    /// beside them if that is asked for. One of the cluster's that can't be in force is told of.
    pub(super) async fn read(files: &[PathBuf], cluster: Option<&Cluster>) -> anyhow::Result<Self> {
        let policies = Policies::load(files.to_vec())?;
        let objects = match cluster {
            Some(cluster) => installed(cluster).await?,
            None => Vec::new(),
        };
        for object in &objects {
            let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            if let Err(problem) = policies.apply(name, object) {
                print::note(format!("plimsoll: InvariantPolicy {name} is left out: {problem}"));
            }
        }
        let of_cluster = policies.objects();
        let policies = policies.current();
        let origin = |policy: &Policy| match of_cluster.contains(&policy.name) {
            true => Origin::Cluster,
            false if files.is_empty() => Origin::Shipped,
            false => Origin::File,
        };
        let origins = policies.iter().map(|p| PolicyOrigin { name: p.name.clone(), origin: origin(p) });
        Ok(Self { origins: origins.collect(), policies })
    }
}

/// The cluster's own policies; none if they may not be listed, which is told.
async fn installed(cluster: &Cluster) -> anyhow::Result<Vec<Value>> {
    match policies::installed(cluster).await {
        Ok(objects) => Ok(objects),
        // They are of the whole cluster, and many a team may look at its own namespace only.
        Err(error @ InspectError::Forbidden(..)) => {
            print::note(format!("plimsoll: {error}"));
            print::note(
                "plimsoll: policies of the cluster are left out, if there are any; --policies names others",
            );
            Ok(Vec::new())
        }
        Err(error) => Err(error.into()),
    }
}
