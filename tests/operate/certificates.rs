//! One authority and one certificate for all replicas, and how both are succeeded.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::controlplane::wait_until;
use crate::installation::{Installation, NAMESPACE};
use crate::load::Load;
use crate::{SOON, installation};

const SECRET: &str = "plimsoll-certificate";

fn secret(installation: &Installation) -> Value {
    installation.get("secret", SECRET)
}

fn authorities(secret: &Value) -> usize {
    let pem = STANDARD.decode(secret["data"]["ca.crt"].as_str().unwrap()).unwrap();
    String::from_utf8(pem).unwrap().matches("BEGIN CERTIFICATE").count()
}

/// The bundles of every webhook entry.
fn bundles(installation: &Installation) -> Vec<String> {
    let mut bundles = Vec::new();
    for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
        let configuration = installation.get(kind, "plimsoll");
        for webhook in configuration["webhooks"].as_array().unwrap() {
            bundles.push(webhook["clientConfig"]["caBundle"].as_str().unwrap_or_default().to_owned());
        }
    }
    bundles
}

fn ask(installation: &Installation, what: &str) {
    let annotation = format!("plimsoll.dev/renew={what}");
    let annotate = ["annotate", "secret", SECRET, "-n", NAMESPACE, &annotation];
    installation.plane.kubectl("admin", &annotate).expect_ok("the Secret should be annotated");
}

#[test]
fn replicas_share_one_authority_and_it_is_succeeded_under_load() {
    let installation = installation();
    let before = secret(&installation);
    assert_eq!(before["type"], "kubernetes.io/tls");
    assert!(bundles(&installation).iter().all(|bundle| *bundle == before["data"]["ca.crt"]));

    let namespace = installation.plane.namespace("certificates", &[("environment", "production")]);
    let load = Load::start(&installation, &namespace, 50);
    ask(&installation, "certificate");
    wait_until("another certificate", SOON, || {
        let now = secret(&installation);
        now["data"]["tls.crt"] != before["data"]["tls.crt"] && now["metadata"]["annotations"].is_null()
    });
    assert_eq!(secret(&installation)["data"]["ca.crt"], before["data"]["ca.crt"]);

    let before = secret(&installation);
    ask(&installation, "authority");
    wait_until("a certificate of a new authority", SOON, || {
        let now = secret(&installation);
        now["data"]["ca.key"] != before["data"]["ca.key"]
            && now["data"]["tls.crt"] != before["data"]["tls.crt"]
    });
    let now = secret(&installation);
    assert_eq!(authorities(&now), 2, "the old one is trusted until nobody can be serving its certificate");
    wait_until("every bundle to hold both", SOON, || {
        bundles(&installation).iter().all(|bundle| *bundle == now["data"]["ca.crt"])
    });
    wait_until("every replica to serve it", SOON, || {
        installation.replicas.iter().all(|replica| {
            replica.process.log().matches("serving a new certificate").count() >= 3
                && replica.get("/readyz").starts_with("HTTP/1.1 200")
        })
    });
    let seen = load.applied();
    wait_until("applies after that", SOON, || load.applied() > seen + 100);
    let outcome = load.stop(&installation);
    outcome.say("succession");
    outcome.expect_nothing_failed();
}
