//! One authority and one certificate for all replicas, and how both are succeeded.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::controlplane::{Plimsoll, Run, helm, say, wait_until};
use crate::installation::{CHART, Installation, NAMESPACE, Replica};
use crate::load::Load;
use crate::{SOON, installation, plimsoll};

const SECRET: &str = "plimsoll-certificate";
/// The installation whose certificate is in files.
const FILES: &str = "plimsoll-files";
/// How often everything is succeeded.
const ROUNDS: usize = 3;

fn secret(installation: &Installation) -> Value {
    installation.own("secret", SECRET)
}

fn authorities(secret: &Value) -> usize {
    let pem = STANDARD.decode(secret["data"]["ca.crt"].as_str().unwrap()).unwrap();
    String::from_utf8(pem).unwrap().matches("BEGIN CERTIFICATE").count()
}

/// The bundles of every webhook entry.
fn bundles(installation: &Installation) -> Vec<String> {
    let mut bundles = Vec::new();
    for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
        let configuration = installation.own(kind, "plimsoll");
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

/// How often each replica has taken up another certificate.
fn taken_up(replica: &Replica) -> usize {
    replica.process.log().matches("serving a new certificate").count()
}

/// Waits for so many more applies.
fn wait_for_more(load: &Load, count: usize) {
    let seen = load.applied();
    wait_until("applies after that", SOON, || load.applied() > seen + count);
}

#[test]
fn replicas_share_one_authority_and_it_is_succeeded_under_load() {
    let installation = installation();
    let before = secret(&installation);
    assert_eq!(before["type"], "kubernetes.io/tls");
    assert!(bundles(&installation).iter().all(|bundle| *bundle == before["data"]["ca.crt"]));

    let namespace = installation.plane.namespace("certificates", &[("environment", "production")]);
    let load = Load::start(&installation, &namespace, 50);
    for _ in 0..ROUNDS {
        let before = secret(&installation);
        ask(&installation, "certificate");
        wait_until("another certificate", SOON, || {
            let now = secret(&installation);
            now["data"]["tls.crt"] != before["data"]["tls.crt"] && now["metadata"]["annotations"].is_null()
        });
        assert_eq!(secret(&installation)["data"]["ca.crt"], before["data"]["ca.crt"]);

        let (before, seen) = (secret(&installation), installation.replicas.iter().map(taken_up));
        let seen: Vec<usize> = seen.collect();
        ask(&installation, "authority");
        wait_until("a certificate of a new authority", SOON, || {
            let now = secret(&installation);
            now["data"]["ca.key"] != before["data"]["ca.key"]
                && now["data"]["tls.crt"] != before["data"]["tls.crt"]
        });
        let now = secret(&installation);
        assert!(authorities(&now) >= 2, "the old one is trusted until nobody can be serving its certificate");
        wait_until("every bundle to hold both", SOON, || {
            bundles(&installation).iter().all(|bundle| *bundle == now["data"]["ca.crt"])
        });
        wait_until("every replica to serve it", SOON, || {
            installation.replicas.iter().zip(&seen).all(|(replica, seen)| {
                taken_up(replica) > *seen && replica.get("/readyz").starts_with("HTTP/1.1 200")
            })
        });
        wait_for_more(&load, 100);
    }
    let outcome = load.stop(&installation);
    outcome.say("three successions of the certificate and its authority");
    outcome.expect_nothing_failed();
}

/// A directory like a mounted Secret: its files are links through `..data`, which is swapped as one.
struct Mounted {
    path: PathBuf,
    updates: u32,
}

impl Mounted {
    fn new(path: PathBuf) -> Self {
        std::fs::create_dir(&path).unwrap();
        for file in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(file), path.join(file)).unwrap();
        }
        Self { path, updates: 0 }
    }

    /// Writes a certificate of an authority of its own, and nothing leads there yet. The authority in PEM.
    fn prepare(&mut self) -> String {
        self.updates += 1;
        let mut generate = Command::new(plimsoll());
        generate.args(["certs", "generate", "--dns", "127.0.0.1", "--out"]).arg(self.newest());
        Run::of(generate, "").expect_ok("a certificate");
        std::fs::read_to_string(self.newest().join("ca.crt")).unwrap()
    }

    fn swap(&self) {
        let link = self.path.join("..data.new");
        symlink(self.newest(), &link).unwrap();
        std::fs::rename(link, self.path.join("..data")).unwrap();
    }

    fn newest(&self) -> PathBuf {
        self.path.join(format!("..version-{}", self.updates))
    }
}

/// Lets the API server trust authorities.
fn trust(installation: &Installation, authorities: &[&str]) {
    let bundle = STANDARD.encode(authorities.concat());
    for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
        let entries = installation.own(kind, FILES)["webhooks"].as_array().unwrap().len();
        let patch = (0..entries).map(|entry| {
            let path = format!("/webhooks/{entry}/clientConfig/caBundle");
            json!({"op": "add", "path": path, "value": bundle})
        });
        let patch = Value::Array(patch.collect()).to_string();
        let patch = ["patch", kind, FILES, "--type=json", "-p", &patch];
        installation.plane.kubectl("admin", &patch).expect_ok("the bundle should be written");
    }
}

#[test]
fn certificate_files_are_swapped_under_load() {
    let installation = installation();
    let plane = &installation.plane;
    let mut mounted = Mounted::new(plane.dir().join(FILES));
    let mut authority = mounted.prepare();
    mounted.swap();
    let file = |name: &str| mounted.path.join(name).to_str().unwrap().to_owned();
    let (cert, key) = (file("tls.crt"), file("tls.key"));
    let args = ["--name", FILES, "--tls-cert", &cert, "--tls-key", &key];
    let replica = Plimsoll::start(plane, plimsoll(), &args).expect("a replica with files");

    let namespace = plane.namespace("files", &[("environment", "production"), ("certificate", "files")]);
    let mut template = Command::new(helm(&say).expect("helm"));
    let url = format!("webhook.url=https://127.0.0.1:{}", replica.port);
    let selector = "webhook.namespaceSelector.matchLabels.certificate=files";
    let name = format!("fullnameOverride={FILES}");
    template.args(["template", FILES, CHART, "--set", &url, "--set", selector, "--set", &name]);
    let configurations = Run::of(template, "").expect_ok("the chart should be rendered");
    plane.apply_manifest(&configurations).expect_ok("the configurations should be applied");
    trust(&installation, &[&authority]);
    wait_until("its first denial", SOON, || {
        installation.create_one(&namespace);
        replica.records().iter().any(|record| record["decision"] == "Denied")
    });

    let load = Load::start(&installation, &namespace, 50);
    for round in 1..=ROUNDS {
        // The API server trusts the next authority before its certificate is served, and the last one
        // until that no longer is.
        let next = mounted.prepare();
        trust(&installation, &[&authority, &next]);
        wait_for_more(&load, 100);
        mounted.swap();
        wait_until("the files to be taken up", SOON, || {
            replica.process.log().matches("serving a new certificate").count() == round
        });
        trust(&installation, &[&next]);
        wait_for_more(&load, 100);
        authority = next;
    }
    let outcome = load.stop(&installation);
    for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
        plane.kubectl("admin", &["delete", kind, FILES]).expect_ok("the configurations should go");
    }
    outcome.say("three swaps of certificate files");
    outcome.expect_nothing_failed();
}
