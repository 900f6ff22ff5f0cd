//! The Secret in which replicas share an authority and a certificate.
//!
//! Nobody leads: whoever finds something to do writes it over the version that it read, and who comes
//! second reads what the first one wrote. A Secret that somebody deletes is written again as it was
//! by the first replica that notices.

mod material;

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt, watcher};
use thiserror::Error;
use tracing::{info, warn};

use super::{Cluster, brief, request};
use crate::server::AuthorityError;

pub use material::{Circumstances, Material, Renewal, Step};

/// The annotation by which somebody asks for a renewal: `certificate` or `authority`. It goes when it
/// is done.
pub const RENEW: &str = "plimsoll.dev/renew";

/// How often a write is tried again that another replica's came before.
const ATTEMPTS: u32 = 5;

/// Why the Secret can't be shared.
#[derive(Debug, Error)]
pub enum SecretError {
    /// It could not be read or written.
    #[error("failed to {verb} Secret {name}: {}", brief(source))]
    Request {
        /// What was tried.
        verb: &'static str,
        /// Namespace and name.
        name: String,
        /// What went wrong.
        source: kube::Error,
    },
    /// What it holds is of no use.
    #[error("Secret {name} can't be used: {source}; delete it to have another one made")]
    Unusable {
        /// Namespace and name.
        name: String,
        /// What is wrong.
        source: AuthorityError,
    },
    /// No certificate could be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// Others always came first.
    #[error("Secret {0} changes all the time")]
    Unsteady(String),
}

/// The Secret as this replica knows it.
pub struct SharedSecret {
    secrets: Api<Secret>,
    metadata: Api<PartialObjectMeta<Secret>>,
    namespace: String,
    name: String,
    /// What is served, and whether it is what the Secret said.
    held: Option<(Material, bool)>,
    /// Whether the namespace was found to be missing.
    is_alone: bool,
}

impl SharedSecret {
    /// The Secret of this name; nothing is sent yet.
    pub fn new(cluster: &Cluster, namespace: &str, name: &str) -> Self {
        Self {
            secrets: Api::namespaced(cluster.client().clone(), namespace),
            metadata: Api::namespaced(cluster.client().clone(), namespace),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            held: None,
            is_alone: false,
        }
    }

    /// Brings the Secret up to date and returns what it holds then. `is_bundled` says whether every
    /// webhook configuration trusts these authorities, PEM, and no others.
    ///
    /// Where there is no such namespace there is nobody to share with either (a process outside of
    /// the cluster, which nothing was installed for): the material stays this process's own.
    ///
    /// # Errors
    /// When the Secret can't be read or written, or what it holds is of no use. What was returned
    /// before should be served on.
    pub async fn sync(
        &mut self,
        names: &BTreeSet<String>,
        is_bundled: impl Fn(&str) -> bool,
        now: Timestamp,
    ) -> Result<Material, SecretError> {
        for _ in 0..ATTEMPTS {
            let stored = self.secrets.get_opt(&self.name).await.map_err(|e| self.failed("read", e))?;
            self.is_alone &= stored.is_none();
            let (mut material, mut asked) = match &stored {
                Some(secret) => (read(secret), self.asked(secret)),
                None => (self.own(names, now)?, None),
            };
            let mut is_changed = false;
            let circumstances =
                |asked, ca_pem: &str| Circumstances { names, asked, is_bundled: is_bundled(ca_pem), now };
            loop {
                let step = match material.next(&circumstances(asked, &material.ca_pem)) {
                    Ok(step) => step,
                    Err(source) => {
                        // What was in it when it was of use is put back.
                        let good = self.held.as_ref().filter(|(good, shared)| *shared && *good != material);
                        let Some((good, _)) = good else {
                            return Err(SecretError::Unusable { name: self.place(), source });
                        };
                        warn!(secret = self.place(), error = %source, "the Secret can't be used and is written again");
                        (material, is_changed) = (good.clone(), true);
                        continue;
                    }
                };
                let Some(step) = step else { break };
                info!(secret = self.place(), what = step.what, "making what the replicas share");
                material = step.material;
                is_changed = true;
                asked = asked.filter(|_| !step.is_asked);
            }
            let written = match stored {
                Some(_) if !is_changed => true,
                Some(secret) => self.replace(secret, &material, asked.is_none()).await?,
                None => self.create(&material).await?,
            };
            if written {
                self.held = Some((material.clone(), !self.is_alone));
                return Ok(material);
            }
        }
        Err(SecretError::Unsteady(self.place()))
    }

    /// Something for every change of the Secret, and for every trouble with the watch.
    pub fn changes(&self) -> BoxStream<'static, ()> {
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        watcher(self.metadata.clone(), config).default_backoff().map(drop).boxed()
    }

    /// What this replica has, else something new.
    fn own(&self, names: &BTreeSet<String>, now: Timestamp) -> Result<Material, SecretError> {
        match &self.held {
            Some((material, _)) => Ok(material.clone()),
            None => Ok(Material::new(names, now)?),
        }
    }

    /// Whether the Secret holds the material now; no if somebody made another one.
    async fn create(&mut self, material: &Material) -> Result<bool, SecretError> {
        let labels = [("app.kubernetes.io/name", "plimsoll"), ("app.kubernetes.io/managed-by", "plimsoll")];
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(self.namespace.clone()),
                labels: Some(labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
                ..ObjectMeta::default()
            },
            type_: Some("kubernetes.io/tls".to_owned()),
            data: Some(data(material)),
            ..Secret::default()
        };
        match self.secrets.create(&PostParams::default(), &secret).await {
            Ok(_) => {
                self.is_alone = false;
                Ok(true)
            }
            Err(error) if request::is_status(&error, 409) => Ok(false),
            Err(error) if request::is_status(&error, 404) => {
                if !self.is_alone {
                    info!(namespace = self.namespace, "no such namespace; the certificate is not shared");
                }
                self.is_alone = true;
                Ok(true)
            }
            Err(error) => Err(self.failed("create", error)),
        }
    }

    /// Whether the Secret holds the material now; no if it is no longer the one that was read.
    async fn replace(
        &self,
        mut secret: Secret,
        material: &Material,
        is_done: bool,
    ) -> Result<bool, SecretError> {
        secret.data.get_or_insert_default().extend(data(material));
        if is_done && let Some(annotations) = &mut secret.metadata.annotations {
            annotations.remove(RENEW);
        }
        match self.secrets.replace(&self.name, &PostParams::default(), &secret).await {
            Ok(_) => Ok(true),
            Err(error) if request::is_status(&error, 409) || request::is_status(&error, 404) => Ok(false),
            Err(error) => Err(self.failed("update", error)),
        }
    }

    fn asked(&self, secret: &Secret) -> Option<Renewal> {
        match secret.metadata.annotations.as_ref()?.get(RENEW)?.as_str() {
            "authority" => Some(Renewal::Authority),
            "certificate" => Some(Renewal::Certificate),
            other => {
                warn!(secret = self.place(), "expected certificate or authority as {RENEW}, found {other:?}");
                None
            }
        }
    }

    fn failed(&self, verb: &'static str, source: kube::Error) -> SecretError {
        SecretError::Request { verb, name: self.place(), source }
    }

    fn place(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

const KEYS: [&str; 4] = ["ca.crt", "ca.key", "tls.crt", "tls.key"];

fn data(material: &Material) -> BTreeMap<String, ByteString> {
    let Material { ca_pem, ca_key_pem, certificate_pem, key_pem } = material;
    let values = [ca_pem, ca_key_pem, certificate_pem, key_pem];
    let bytes = values.map(|text| ByteString(text.clone().into_bytes()));
    KEYS.map(str::to_owned).into_iter().zip(bytes).collect()
}

fn read(secret: &Secret) -> Material {
    let [ca_pem, ca_key_pem, certificate_pem, key_pem] = KEYS.map(|key| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(key));
        bytes.map_or_else(String::new, |bytes| String::from_utf8_lossy(&bytes.0).into_owned())
    });
    Material { ca_pem, ca_key_pem, certificate_pem, key_pem }
}

#[cfg(test)]
mod tests;
