//! Reports in the cluster: written, and taken away when there is nothing more to say.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject};
use serde_json::Value;
use thiserror::Error;

use super::{Cluster, InspectError, brief, request};
use crate::render::report::policy_report::{Api, SOURCE};

/// How many are written at a time.
const AT_ONCE: usize = 8;

/// Why reports could not be written.
#[derive(Debug, Error)]
pub enum ReportError {
    /// The reports that are there can't be listed.
    #[error("{0}; reports are objects of {1}, which has to be installed first")]
    Inspect(InspectError, &'static str),
    /// One can't be written or deleted.
    #[error("failed to {verb} {kind} {name}: {}", brief(source))]
    Write {
        /// `write` or `delete`.
        verb: &'static str,
        /// The kind of report.
        kind: &'static str,
        /// Namespace and name.
        name: String,
        /// What went wrong.
        source: kube::Error,
    },
}

impl Cluster {
    /// Writes reports, and deletes those of former scans (of a namespace or of all) that aren't among
    /// them. One that says what it said isn't changed.
    ///
    /// # Errors
    /// When the cluster has no such kind, or one of them can't be written; others may have been.
    pub async fn write_reports(
        &self,
        api: Api,
        namespace: Option<&str>,
        reports: &[Value],
    ) -> Result<usize, ReportError> {
        let root = format!("/apis/{}", api.version());
        let path = match namespace {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{}", api.plural()),
            None => format!("{root}/{}", api.plural()),
        };
        let ours = format!("app.kubernetes.io/managed-by={SOURCE}");
        let there = self.inspect(&path, Some(&ours)).await;
        let there = there.map_err(|error| ReportError::Inspect(error, api.version()))?;
        let kept: BTreeSet<_> = reports.iter().map(identity).collect();
        let stale: Vec<_> = there.iter().map(identity).filter(|name| !kept.contains(name)).collect();
        let write = |report| self.write_report(api, report);
        stream::iter(reports).map(write).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        let delete = |name: &(String, String)| self.delete_report(api, name.clone());
        stream::iter(&stale).map(delete).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        Ok(stale.len())
    }

    async fn write_report(&self, api: Api, report: &Value) -> Result<(), ReportError> {
        let (namespace, name) = identity(report);
        let params = PatchParams::apply("plimsoll-scan").force();
        let outcome = self.reports(api, &namespace).patch(&name, &params, &Patch::Apply(report)).await;
        outcome.map(drop).map_err(|source| failed("write", api, &namespace, &name, source))
    }

    async fn delete_report(&self, api: Api, (namespace, name): (String, String)) -> Result<(), ReportError> {
        match self.reports(api, &namespace).delete(&name, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            // Gone with its object in the meantime.
            Err(error) if request::is_status(&error, 404) => Ok(()),
            Err(source) => Err(failed("delete", api, &namespace, &name, source)),
        }
    }

    fn reports(&self, api: Api, namespace: &str) -> kube::Api<DynamicObject> {
        let (group, version) = api.version().split_once('/').unwrap_or_default();
        let resource = ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: api.version().to_owned(),
            kind: api.kind().to_owned(),
            plural: api.plural().to_owned(),
        };
        kube::Api::namespaced_with(self.client().clone(), namespace, &resource)
    }
}

fn identity(report: &Value) -> (String, String) {
    let text = |pointer| report.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    (text("/metadata/namespace"), text("/metadata/name"))
}

fn failed(verb: &'static str, api: Api, namespace: &str, name: &str, source: kube::Error) -> ReportError {
    ReportError::Write { verb, kind: api.kind(), name: format!("{namespace}/{name}"), source }
}
