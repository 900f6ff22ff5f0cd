//! Webhook configurations, as far as they are read, and what is to be written into them.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::object::nullable;

/// Annotations that tell cert-manager's ca-injector to write the bundle. Two writers would undo each
/// other's work for ever.
const INJECTED: [&str; 3] = [
    "cert-manager.io/inject-ca-from",
    "cert-manager.io/inject-ca-from-secret",
    "cert-manager.io/inject-apiserver-ca",
];

/// Which of the two kinds of configuration.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// A MutatingWebhookConfiguration.
    Mutating,
    /// A ValidatingWebhookConfiguration.
    Validating,
}

impl Role {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Mutating, Self::Validating];

    /// Where the configurations are.
    pub fn path(self) -> &'static str {
        match self {
            Self::Mutating => "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
            Self::Validating => "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
        }
    }

    /// The kind of the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mutating => "MutatingWebhookConfiguration",
            Self::Validating => "ValidatingWebhookConfiguration",
        }
    }
}

/// One webhook configuration.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Its kind.
    pub role: Role,
    /// Its name.
    pub name: String,
    /// Its webhooks, in order.
    pub webhooks: Vec<Registered>,
    pub(super) version: String,
    pub(super) injected: bool,
}

/// One webhook of a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Registered {
    /// Its name.
    pub name: String,
    /// The DNS name or IP address that the API server expects in the certificate; `None` if its
    /// clientConfig makes no sense.
    pub endpoint: Option<String>,
    /// The PEM text of its bundle, empty if it has none.
    pub ca_bundle: Vec<u8>,
}

impl Registration {
    /// Whether each of its bundles is exactly this CA, or somebody else's to write.
    pub fn trusts(&self, ca_pem: &str) -> bool {
        self.injected || self.webhooks.iter().all(|webhook| webhook.ca_bundle == ca_pem.as_bytes())
    }

    /// The JSON patch that makes every bundle this CA, and how many it changes.
    pub(super) fn patch(&self, ca_pem: &str) -> (Value, usize) {
        let wrong = |(_, webhook): &(usize, &Registered)| webhook.ca_bundle != ca_pem.as_bytes();
        let wrong = self.webhooks.iter().enumerate().filter(wrong).filter(|_| !self.injected);
        let bundle = STANDARD.encode(ca_pem);
        let mut operations: Vec<Value> = wrong
            .map(|(index, _)| {
                json!({ "op": "add", "path": format!("/webhooks/{index}/clientConfig/caBundle"), "value": bundle })
            })
            .collect();
        let changed = operations.len();
        // A version in the patch makes the API server answer 409 if it is no longer that one.
        operations.insert(
            0,
            json!({ "op": "replace", "path": "/metadata/resourceVersion", "value": self.version }),
        );
        (Value::Array(operations), changed)
    }
}

/// The names and addresses of several configurations.
pub(super) fn endpoints(registrations: &[Registration]) -> BTreeSet<String> {
    let webhooks = registrations.iter().flat_map(|registration| &registration.webhooks);
    webhooks.filter_map(|webhook| webhook.endpoint.clone()).collect()
}

/// Either kind of configuration, as far as it is read.
#[derive(Deserialize)]
pub(super) struct Configuration {
    metadata: Metadata,
    #[serde(default, deserialize_with = "nullable")]
    webhooks: Vec<Webhook>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    #[serde(default, deserialize_with = "nullable")]
    resource_version: String,
    #[serde(default, deserialize_with = "nullable")]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Webhook {
    name: String,
    client_config: ClientConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientConfig {
    #[serde(default, deserialize_with = "nullable")]
    ca_bundle: String,
    service: Option<Service>,
    url: Option<String>,
}

#[derive(Deserialize)]
struct Service {
    name: String,
    namespace: String,
}

impl Configuration {
    pub(super) fn into_registration(self, role: Role) -> Registration {
        let registered = |webhook: Webhook| Registered {
            name: webhook.name,
            endpoint: webhook.client_config.endpoint(),
            // What is no base64 can't have come from the API server, and is as good as no bundle.
            ca_bundle: STANDARD.decode(webhook.client_config.ca_bundle).unwrap_or_default(),
        };
        Registration {
            role,
            webhooks: self.webhooks.into_iter().map(registered).collect(),
            injected: INJECTED.iter().any(|key| self.metadata.annotations.contains_key(*key)),
            name: self.metadata.name,
            version: self.metadata.resource_version,
        }
    }
}

impl ClientConfig {
    fn endpoint(&self) -> Option<String> {
        match (&self.service, &self.url) {
            (Some(service), _) => Some(format!("{}.{}.svc", service.name, service.namespace)),
            (None, Some(url)) => host(url).map(str::to_owned),
            (None, None) => None,
        }
    }
}

/// The host of an `https` URL, an IPv6 address without its brackets. The API server has checked
/// already that there is neither a user nor a query in it.
fn host(url: &str) -> Option<&str> {
    let authority = url.strip_prefix("https://")?.split('/').next()?;
    let host = match authority.strip_prefix('[') {
        Some(address) => address.split_once(']')?.0,
        None => authority.split(':').next()?,
    };
    (!host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CA: &str = "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n";

    fn read(annotations: &str, client_configs: &[&str]) -> Registration {
        let webhooks: Vec<String> = client_configs
            .iter()
            .enumerate()
            .map(|(index, config)| format!(r#"{{"name":"w{index}.plimsoll.dev","clientConfig":{config}}}"#))
            .collect();
        let text = format!(
            r#"{{"metadata":{{"name":"plimsoll","resourceVersion":"7","annotations":{annotations}}},"webhooks":[{}]}}"#,
            webhooks.join(",")
        );
        serde_json::from_str::<Configuration>(&text).unwrap().into_registration(Role::Validating)
    }

    #[test]
    fn endpoints_are_what_a_certificate_has_to_name() {
        let registration = read(
            "null",
            &[
                r#"{"service":{"name":"plimsoll","namespace":"plimsoll-system","path":"/validate","port":443}}"#,
                r#"{"url":"https://127.0.0.1:8443/validate"}"#,
                r#"{"url":"https://[fd00::1]:8443/validate"}"#,
                r#"{"url":"https://hooks.example.com/validate"}"#,
                r#"{"url":"https://127.0.0.1:8443/mutate"}"#,
                r#"{"url":"http://plain.example.com"}"#,
                r#"{}"#,
            ],
        );
        let endpoints: Vec<String> = endpoints(&[registration]).into_iter().collect();
        assert_eq!(endpoints, ["127.0.0.1", "fd00::1", "hooks.example.com", "plimsoll.plimsoll-system.svc"]);
    }

    #[test]
    fn only_bundles_that_differ_are_written() {
        let right = format!(r#"{{"url":"https://a/","caBundle":"{}"}}"#, STANDARD.encode(CA));
        let (patch, changed) =
            read("{}", &[r#"{"url":"https://a/"}"#, &right, r#"{"caBundle":"QUJD"}"#]).patch(CA);
        assert_eq!(changed, 2);
        let paths: Vec<&str> =
            patch.as_array().unwrap().iter().map(|op| op["path"].as_str().unwrap()).collect();
        let bundle = |index| format!("/webhooks/{index}/clientConfig/caBundle");
        assert_eq!(paths, ["/metadata/resourceVersion", &bundle(0), &bundle(2)]);
        assert_eq!(patch[0]["value"], "7");
        assert_eq!(patch[1]["value"], STANDARD.encode(CA));
        assert_eq!(read("{}", &[&right]).patch(CA).1, 0);
    }

    #[test]
    fn what_cert_manager_writes_is_left_alone() {
        for key in INJECTED {
            let registration = read(&format!(r#"{{"{key}":"ns/name"}}"#), &[r#"{"url":"https://a/"}"#]);
            assert_eq!(registration.patch(CA).1, 0, "{key}");
        }
    }
}
