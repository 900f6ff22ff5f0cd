//! The five systems under `examples/systems`, object by object.

use std::{path::Path, time::Duration};

use anyhow::Context;
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use plimsoll::manifest;
use serde_json::{Value, json};

use super::{ControlPlane, Run, keda_crds, wait_until};

/// How long the controllers may take to put a role together.
const PATIENCE: Duration = Duration::from_secs(60);

/// The systems, in the order in which they are shown.
pub(crate) const SYSTEMS: [&str; 5] = ["signature", "booking-qs", "honeydue", "authenticate", "imp"];

/// One object of a system.
pub(crate) struct Manifest {
    /// `documented`, `fixed` or `refused`.
    pub(crate) folder: String,
    /// The file's name without its ending.
    pub(crate) file: String,
    /// Kind and name: `Deployment/api`.
    pub(crate) title: String,
    /// Its namespace.
    pub(crate) namespace: String,
    /// The object.
    pub(crate) value: Value,
}

/// The objects of one folder of a system, file by file; `documented/keda-hpas` names one file.
pub(crate) fn manifests(system: &str, place: &str) -> Vec<Manifest> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/systems").join(system);
    let path = root.join(place);
    let path = if path.is_dir() { path } else { path.with_extension("yaml") };
    let files = manifest::files::collect(&[path]).expect("the example is there");
    let mut all = Vec::new();
    for (name, text) in files {
        let file = Path::new(&name).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        let folder = place.split('/').next().unwrap_or_default().to_owned();
        for document in manifest::parse(&name, &fresh(&text)).expect("the example is valid YAML") {
            let value = document.value;
            let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let title = format!("{}/{}", text("/kind"), text("/metadata/name"));
            let namespace = text("/metadata/namespace").to_owned();
            all.push(Manifest { folder: folder.clone(), file: file.clone(), title, namespace, value });
        }
    }
    all
}

/// The examples' waivers end on a fixed day; here they end two months from now.
fn fresh(text: &str) -> String {
    let date = Timestamp::now().to_zoned(TimeZone::UTC).date().saturating_add(60.days());
    text.replace("expires: 2027-01-31", &format!("expires: {date}"))
}

impl ControlPlane {
    /// Adds KEDA's custom resources, and lets who may edit Deployments edit them too.
    pub(crate) fn install_keda(&self) -> anyhow::Result<()> {
        let crds = keda_crds()?;
        let crds = crds.to_str().context("the path of KEDA's CRDs is no UTF-8")?;
        let applied = self.kubectl("admin", &["apply", "--server-side", "-f", crds]);
        anyhow::ensure!(applied.status_ok, "failed to apply KEDA's CRDs: {applied}");
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {
                "name": "edit-scaledobjects",
                "labels": {"rbac.authorization.k8s.io/aggregate-to-edit": "true"},
            },
            "rules": [{"apiGroups": ["keda.sh"], "resources": ["scaledobjects"], "verbs": ["*"]}],
        });
        let applied = self.apply_manifest(&role.to_string());
        anyhow::ensure!(applied.status_ok, "failed to let teams edit ScaledObjects: {applied}");
        let may = ["auth", "can-i", "create", "scaledobjects.keda.sh", "-n", "default"];
        wait_until("teams to be allowed to edit ScaledObjects", PATIENCE, || {
            self.kubectl("alice", &may).status_ok
        });
        Ok(())
    }

    /// Applies one object as a user.
    pub(crate) fn apply(&self, user: &str, manifest: &Manifest, more: &[&str]) -> Run {
        let args = [&["apply", "-f", "-"], more].concat();
        self.kubectl_stdin(user, &args, &manifest.value.to_string())
    }
}
