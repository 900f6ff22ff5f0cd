//! The place that the API server calls: whether somebody answers there, with a certificate that is trusted.

use jiff::{Timestamp, ToSpan as _};
use serde_json::Value;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::Checks;
use super::webhook::{Service, Target};
use crate::cluster::Cluster;
use crate::cluster::webhooks::{Registration, Trust, chain_at};

/// How many days before its end a certificate ought to have been renewed.
const DAYS: i64 = 14;

pub(super) async fn examine(
    checks: &mut Checks,
    cluster: &Cluster,
    target: &Target,
    registrations: &[Registration],
) {
    match target {
        Target::Url(url) => {
            let about = format!("Endpoint {url}");
            let Some(authority) = url.strip_prefix("https://") else {
                return checks.problem(&about, "is no https URL", "The API server calls nothing else");
            };
            let (host, port) = split(authority);
            let address = format!("{}:{port}", bracketed(host));
            match chain_at(&address, host).await {
                Ok(chain) => certificate(checks, &about, host, &chain, registrations),
                Err(problem) => checks.problem(&about, problem,
                    "Start Plimsoll there. If the API server reaches it and this machine doesn't, run doctor where the API server runs"),
            }
        }
        Target::Service(service) => service_check(checks, cluster, service, registrations).await,
    }
}

async fn service_check(
    checks: &mut Checks,
    cluster: &Cluster,
    service: &Service,
    registrations: &[Registration],
) {
    let Service { namespace, name, port } = service;
    let about = format!("Service {namespace}/{name}");
    let port = port.unwrap_or(443);
    let found = cluster.inspect_one(&format!("/api/v1/namespaces/{namespace}/services"), name).await;
    let found = match found {
        Ok(Some(found)) => found,
        Ok(None) => {
            return checks.problem(
                &about,
                "isn't there: the API server can't call Plimsoll",
                "helm upgrade, or see who deleted it",
            );
        }
        Err(error) => {
            return checks.warning(&about, error.to_string(), "Nothing can be said about what is behind it");
        }
    };
    let ports = found.pointer("/spec/ports").and_then(Value::as_array).cloned().unwrap_or_default();
    if !ports.iter().any(|p| p.get("port").and_then(Value::as_u64) == Some(port.into())) {
        let advice = "The webhooks' clientConfig.service.port has to be one of the Service's. helm upgrade";
        return checks.problem(&about, format!("has no port {port}"), advice);
    }
    let path = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
    let slices = match cluster.inspect(&path, Some(&format!("kubernetes.io/service-name={name}"))).await {
        Ok(slices) => slices,
        Err(error) => {
            return checks.warning(&about, error.to_string(), "Nothing can be said about what is behind it");
        }
    };
    let addresses = addresses(&slices);
    match addresses.len() {
        0 => {
            let advice = format!("Governed writes are refused meanwhile. kubectl -n {namespace} get pods -l app.kubernetes.io/name=plimsoll, and their logs");
            return checks.problem(&about, "has no ready endpoint", &advice);
        }
        1 => checks.warning(&about, "has one ready endpoint",
            "Every restart of it refuses governed writes for a moment. Three replicas are right for production"),
        many => checks.ok(&about, format!("{many} ready endpoints")),
    }
    let server_name = format!("{name}.{namespace}.svc");
    for address in &addresses {
        let about = format!("{about}, {address}");
        match chain_at(address, &server_name).await {
            Ok(chain) => certificate(checks, &about, &server_name, &chain, registrations),
            // Pods can rarely be reached from outside the cluster.
            Err(problem) => checks.warning(&about, format!("{problem}, so its certificate was not seen"),
                "Run doctor in the cluster (kubectl exec into Plimsoll's pod), or trust the pod's readiness, which checks the same"),
        }
    }
}

/// The addresses of what is ready, with the port that each slice names.
fn addresses(slices: &[Value]) -> Vec<String> {
    let mut all = Vec::new();
    for slice in slices {
        let port = slice.pointer("/ports/0/port").and_then(Value::as_u64).unwrap_or(443);
        let endpoints = slice.get("endpoints").and_then(Value::as_array).into_iter().flatten();
        // Absent means ready (`EndpointConditions` in discovery/v1).
        let ready =
            endpoints.filter(|e| e.pointer("/conditions/ready").and_then(Value::as_bool).unwrap_or(true));
        let of = ready.filter_map(|e| e.pointer("/addresses/0").and_then(Value::as_str));
        all.extend(of.map(|address| format!("{}:{port}", bracketed(address))));
    }
    all
}

fn certificate(
    checks: &mut Checks,
    about: &str,
    host: &str,
    chain: &[rustls::pki_types::CertificateDer<'_>],
    registrations: &[Registration],
) {
    let of_host: Vec<Registration> = registrations
        .iter()
        .cloned()
        .map(|mut registration| {
            registration.webhooks.retain(|webhook| webhook.endpoint.as_deref() == Some(host));
            registration
        })
        .collect();
    let now = Timestamp::now();
    match Trust::of(&of_host, chain, now) {
        Trust::Trusted => {}
        Trust::Unregistered => {
            return checks.warning(about, "no webhook names it any more", "Run doctor again");
        }
        Trust::Distrusted(problem) => {
            let advice = "The API server refuses the connection. With a certificate from files or cert-manager set webhook.caBundle, or cert-manager's \
                annotation, to its authority; with Plimsoll's own, restart it and see its log";
            return checks.problem(about, problem, advice);
        }
    }
    let Some(ends) = chain.first().and_then(|leaf| ends(leaf)) else {
        return checks.warning(about, "its certificate has no readable end", "Renew it");
    };
    let soon = now.checked_add((DAYS * 24).hours()).unwrap_or(Timestamp::MAX);
    if ends < soon {
        checks.warning(
            about,
            format!("its certificate ends at {ends}"),
            "It should have been renewed by now. See what renews it: cert-manager, you, or Plimsoll's log",
        );
    } else {
        checks.ok(about, format!("answers, and every webhook trusts its certificate, which ends at {ends}"));
    }
}

fn ends(leaf: &[u8]) -> Option<Timestamp> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}

/// Host and port of a URL's authority.
fn split(authority: &str) -> (&str, &str) {
    if let Some((host, rest)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (host, rest.strip_prefix(':').unwrap_or("443"));
    }
    authority.split_once(':').unwrap_or((authority, "443"))
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}
