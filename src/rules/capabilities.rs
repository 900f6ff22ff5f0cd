//! Containers have no Linux capabilities.

use serde::Deserialize;
use serde_json::Value;

use super::{Check, Context, Fix, Meta, Rule, configure};
use crate::manifest::strict::StrictError;
use crate::verdict::{Action, Edit, Finding};

pub(super) struct Capabilities;

const NAME: &str = "capabilities";

/// What a container is to drop; the profile takes it in this spelling only.
const ALL: &str = "ALL";

/// The only one that a container may add.
const ALLOWED: &str = "NET_BIND_SERVICE";

const META: Meta = Meta {
    name: NAME,
    since: "0.1.0",
    summary: "Every container drops ALL capabilities and adds none but NET_BIND_SERVICE.",
    rationale: "A container runtime gives about a dozen capabilities to root, which hardly any service uses: to change \
        the owner of any file, to forge packets, to make device nodes. What is not there can't be abused.\n\nJudged as the \
        restricted Pod Security profile does: `ALL` in capitals is dropped, and only `NET_BIND_SERVICE` may be added, for \
        ports below 1024. Windows pods, where the field isn't supported, pass.\n\nFilled in only where a policy says `fix: \
        true`, because images that start as root to change their user (nginx, postgres) fail without SETUID, SETGID or \
        CHOWN; and only in a container that says nothing about capabilities and isn't privileged.",
    bad: include_str!("capabilities/bad.yaml"),
    good: include_str!("capabilities/good.yaml"),
    parameters: &[],
    action: Action::Warn,
    fix: Fix::OptIn,
    references: &["https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"],
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {}

impl Rule for Capabilities {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn configure(&self, parameters: &Value) -> Result<Box<dyn Check>, StrictError> {
        configure::<Parameters>(parameters)
    }
}

impl Check for Parameters {
    /// As `policy/check_capabilities_restricted.go` of k8s.io/pod-security-admission. Each capability
    /// is a finding of its own: to trade one for another is new.
    fn check(&self, context: &Context<'_>, findings: &mut Vec<Finding>) {
        let Some(pods) = context.pods().filter(|pods| !pods.spec.is_windows()) else { return };
        for place in pods.containers() {
            let (name, security) = (&place.container.name, &place.container.security_context);
            let (add, drop) = (&security.capabilities.add, &security.capabilities.drop);
            if !drop.iter().any(|dropped| &**dropped == ALL) {
                let mut finding =
                    context.container_finding(NAME, &place, "securityContext.capabilities.drop");
                finding.place.push_str(" drop");
                finding.observed = list(drop.iter().map(|dropped| &**dropped));
                finding.required = "[ALL]".to_owned();
                finding.says = format!("leaves capabilities to container {name}");
                finding.needs = "capabilities.drop: [ALL]".to_owned();
                finding.remedy = "Set securityContext.capabilities.drop: [ALL]".to_owned();
                if add.is_empty() && drop.is_empty() && !security.privileged {
                    let pointer = format!("{}/securityContext/capabilities/drop", place.pointer);
                    finding.fix.push(Edit::SetList(pointer, &[ALL]));
                }
                findings.push(finding);
            }
            let mut seen = Vec::new();
            for added in add.iter().filter(|added| &***added != ALLOWED) {
                if seen.contains(&added) {
                    continue;
                }
                seen.push(added);
                let mut finding = context.container_finding(NAME, &place, "securityContext.capabilities.add");
                finding.place = format!("{} add {added}", finding.place);
                finding.observed = added.to_string();
                finding.required = format!("none but {ALLOWED}");
                finding.says = format!("adds the capability {added} to container {name}");
                finding.needs = format!("no added capability but {ALLOWED}");
                finding.remedy = format!("Remove {added} from securityContext.capabilities.add");
                findings.push(finding);
            }
        }
    }
}

fn list<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    let texts: Vec<_> = texts.collect();
    if texts.is_empty() { "unset".to_owned() } else { format!("[{}]", texts.join(", ")) }
}
