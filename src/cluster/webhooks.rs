//! Plimsoll's own registration: the webhook configurations labelled `app.kubernetes.io/name: plimsoll`,
//! and of these the ones with its own name, if it was told one.
//!
//! They say by which names the API server calls Plimsoll, and whom it trusts there. With a
//! certificate of its own Plimsoll keeps every `caBundle` exactly its CA: what else is in one is the
//! rest of an earlier installation or somebody's mistake, and trust in it would be trust in whoever
//! holds that key. A configuration with an annotation of cert-manager's is left alone altogether.

mod keeper;
mod probe;
mod registration;
pub(super) mod trust;

use std::collections::BTreeSet;
use std::time::Duration;

use kube::api::{ListParams, Patch, PatchParams};
use kube::core::Request;
use serde_json::Value;
use thiserror::Error;
use tokio::time::sleep;

use self::registration::Configuration;
use super::{Cluster, brief, request};

pub use keeper::{Identity, Keeper};
pub use probe::chain_at;
pub use registration::{Registered, Registration, Role};
pub use trust::Trust;

/// The label by which they are found.
pub const SELECTOR: &str = "app.kubernetes.io/name=plimsoll";

/// How often a write is tried again that somebody else's came before. Each replica of Plimsoll writes
/// the same, so the first to succeed ends it for all.
const ATTEMPTS: u32 = 5;

/// Why the configurations could not be read or written.
#[derive(Debug, Error)]
pub enum WebhookError {
    /// They could not be listed.
    #[error("failed to list the {}s: {}", .0.as_str(), brief(.1))]
    List(Role, #[source] kube::Error),
    /// One could not be written.
    #[error("failed to write the caBundle of {} {name}: {}", role.as_str(), brief(source))]
    Patch {
        /// Its kind.
        role: Role,
        /// Its name.
        name: String,
        /// What went wrong.
        source: kube::Error,
    },
}

/// Access to the configurations.
#[derive(Clone)]
pub struct Webhooks {
    client: kube::Client,
    name: Option<String>,
}

impl Webhooks {
    /// Access to those of a cluster.
    pub fn new(cluster: &Cluster) -> Self {
        Self { client: cluster.client().clone(), name: None }
    }

    /// Only those of this name: one installation among several in the cluster.
    #[must_use]
    pub fn named(self, name: Option<String>) -> Self {
        Self { name, ..self }
    }

    /// Plimsoll's configurations.
    ///
    /// # Errors
    /// When they can't be listed.
    pub async fn list(&self) -> Result<Vec<Registration>, WebhookError> {
        let mut registrations = Vec::new();
        for role in Role::ALL {
            registrations
                .extend(self.list_role(role).await.map_err(|error| WebhookError::List(role, error))?);
        }
        Ok(registrations)
    }

    /// The DNS names and IP addresses by which the API server calls: what a certificate has to name.
    ///
    /// # Errors
    /// As [`Webhooks::list`].
    pub async fn list_endpoints(&self) -> Result<BTreeSet<String>, WebhookError> {
        Ok(registration::endpoints(&self.list().await?))
    }

    /// Makes every bundle exactly this CA, and returns how many webhooks had another one.
    ///
    /// # Errors
    /// When the configurations can't be listed, or the first one that can't be written; the others
    /// are written nevertheless.
    pub async fn ensure_ca_bundle(&self, ca_pem: &str) -> Result<usize, WebhookError> {
        let mut changed = 0;
        let mut failure = None;
        for mut registration in self.list().await? {
            match self.ensure(&mut registration, ca_pem).await {
                Ok(webhooks) => changed += webhooks,
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(changed), Err)
    }

    /// Makes the bundles of one configuration exactly this CA, and the configuration given what it is
    /// then. A write names the version that it was made for: whatever else somebody changes in the
    /// meantime is kept, and an index never means another webhook than the one that was read.
    async fn ensure(&self, registration: &mut Registration, ca_pem: &str) -> Result<usize, WebhookError> {
        let mut attempt = 1;
        loop {
            let (operations, changed) = registration.patch(ca_pem);
            if changed == 0 {
                return Ok(0);
            }
            let source = match self.patch(registration, operations).await {
                Ok(written) => {
                    *registration = written;
                    return Ok(changed);
                }
                Err(source) => source,
            };
            let lost = request::is_status(&source, 409) || request::is_status(&source, 404);
            if !lost || attempt == ATTEMPTS {
                return Err(WebhookError::Patch {
                    role: registration.role,
                    name: registration.name.clone(),
                    source,
                });
            }
            sleep(Duration::from_millis(20) * attempt).await;
            attempt += 1;
            let role = registration.role;
            let current = self.list_role(role).await.map_err(|error| WebhookError::List(role, error))?;
            match current.into_iter().find(|current| current.name == registration.name) {
                Some(current) => *registration = current,
                // Uninstalled in the meantime: there is nothing left to keep.
                None => {
                    registration.webhooks.clear();
                    return Ok(0);
                }
            }
        }
    }

    async fn patch(&self, registration: &Registration, operations: Value) -> kube::Result<Registration> {
        let patch: json_patch::Patch = serde_json::from_value(operations).map_err(kube::Error::SerdeError)?;
        let params = PatchParams { field_manager: Some("plimsoll".to_owned()), ..PatchParams::default() };
        let request = Request::new(registration.role.path());
        let request = request.patch(&registration.name, &params, &Patch::Json::<()>(patch));
        let text = self.client.request_text(request.map_err(kube::Error::BuildRequest)?).await?;
        let written: Configuration = serde_json::from_str(&text).map_err(kube::Error::SerdeError)?;
        Ok(written.into_registration(registration.role))
    }

    async fn list_role(&self, role: Role) -> kube::Result<Vec<Registration>> {
        let params = ListParams::default().labels(SELECTOR);
        let params = match &self.name {
            Some(name) => params.fields(&format!("metadata.name={name}")),
            None => params,
        };
        let request = Request::new(role.path()).list(&params);
        let text = self.client.request_text(request.map_err(kube::Error::BuildRequest)?).await?;
        let page = request::Page::read(&text)?;
        let read = |text: &str| serde_json::from_str::<Configuration>(text).map_err(kube::Error::SerdeError);
        page.items.iter().map(|item| Ok(read(item.get())?.into_registration(role))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::scripted::{Answer, scripted};

    const CONFLICT: &str = r#"{"status":"Failure","message":"modified","reason":"Conflict","code":409}"#;

    fn configuration(version: &str, hooks: &[&str]) -> String {
        let hooks: Vec<String> = hooks
            .iter()
            .map(|name| format!(r#"{{"name":"{name}","clientConfig":{{"url":"https://a/"}}}}"#))
            .collect();
        let hooks = hooks.join(",");
        format!(r#"{{"metadata":{{"name":"plimsoll","resourceVersion":"{version}"}},"webhooks":[{hooks}]}}"#)
    }

    fn list(items: &str) -> Answer {
        (200, format!(r#"{{"metadata":{{}},"items":[{items}]}}"#))
    }

    #[tokio::test]
    async fn an_edit_in_between_is_read_and_kept() {
        let (before, after) = (configuration("7", &["a"]), configuration("8", &["new", "a"]));
        let conflict = (409, CONFLICT.to_owned());
        let (cluster, asked) =
            scripted(vec![list(""), list(&before), conflict, list(&after), (200, after.clone())]);
        assert_eq!(Webhooks::new(&cluster).ensure_ca_bundle("CA").await.unwrap(), 2);
        let asked = asked.lock().unwrap();
        assert!(
            asked[0].0.ends_with(
                "/mutatingwebhookconfigurations?&labelSelector=app.kubernetes.io%2Fname%3Dplimsoll"
            )
        );
        let operations = |body: &str| serde_json::from_str::<Value>(body).unwrap();
        let (first, second) = (operations(&asked[2].1), operations(&asked[4].1));
        assert_eq!((first[0]["value"].as_str(), first.as_array().unwrap().len()), (Some("7"), 2));
        assert_eq!((second[0]["value"].as_str(), second.as_array().unwrap().len()), (Some("8"), 3));
    }

    #[tokio::test]
    async fn a_configuration_that_goes_in_between_is_let_go() {
        let gone =
            (404, r#"{"status":"Failure","message":"gone","reason":"NotFound","code":404}"#.to_owned());
        let (cluster, _) = scripted(vec![list(""), list(&configuration("7", &["a"])), gone, list("")]);
        assert_eq!(Webhooks::new(&cluster).ensure_ca_bundle("CA").await.unwrap(), 0);
    }

    #[tokio::test]
    async fn what_cannot_be_written_does_not_stop_the_rest() {
        let one = configuration("7", &["a"]);
        let other = one.replace("plimsoll", "other");
        let forbidden =
            (403, r#"{"status":"Failure","message":"no","reason":"Forbidden","code":403}"#.to_owned());
        let answers = vec![list(""), list(&format!("{other},{one}")), forbidden, (200, one.clone())];
        let (cluster, asked) = scripted(answers);
        let error = Webhooks::new(&cluster).ensure_ca_bundle("CA").await.unwrap_err().to_string();
        assert_eq!(error, "failed to write the caBundle of ValidatingWebhookConfiguration other: no");
        assert!(asked.lock().unwrap()[3].0.contains("/plimsoll?"));
    }
}
