//! The webhook configurations: whether what should be sent is, and whether an outage of Plimsoll stays its own.
//!
//! This is what the chart makes of them, said once more; the end-to-end test holds one to the other.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use super::Checks;
use crate::cluster::webhooks::Role;
use crate::object::{LabelSelector, Labels, nullable};

/// The label that the API server sets on every namespace, and nobody can forge.
pub(super) const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Namespaces that must start while Plimsoll doesn't answer.
const SYSTEM: [&str; 3] = ["kube-system", "kube-node-lease", "kube-public"];

/// What the validating webhook has to be asked about. KEDA's resource may be missing with KEDA.
const JUDGED: [&str; 11] = [
    "apps/deployments",
    "apps/statefulsets",
    "apps/daemonsets",
    "apps/replicasets",
    "apps/deployments/scale",
    "apps/statefulsets/scale",
    "apps/replicasets/scale",
    "batch/cronjobs",
    "batch/jobs",
    "autoscaling/horizontalpodautoscalers",
    "policy/poddisruptionbudgets",
];

/// Whose outage lets people's writes pass on purpose: autoscalers go on, and policies can be mended.
const FAIL_OPEN: [&str; 2] = ["scale-autoscaler.", "policies."];

/// What no admission webhook should wait for: the cluster's own life depends on it.
const VITAL: [&str; 6] = [
    "/nodes",
    "/events",
    "coordination.k8s.io/leases",
    "authentication.k8s.io/tokenreviews",
    "authorization.k8s.io/subjectaccessreviews",
    "certificates.k8s.io/certificatesigningrequests",
];

/// The longest wait that is no nuisance; the API server's default is 10 s.
const LONGEST: u32 = 5;

/// One configuration.
pub(super) struct Configuration {
    pub(super) role: Role,
    pub(super) name: String,
    version: Option<String>,
    pub(super) webhooks: Vec<Hook>,
}

/// One webhook of it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Hook {
    pub(super) name: String,
    client_config: ClientConfig,
    #[serde(default)]
    failure_policy: String,
    #[serde(default)]
    match_policy: String,
    #[serde(default)]
    side_effects: String,
    timeout_seconds: Option<u32>,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) namespace_selector: LabelSelector,
    #[serde(default, deserialize_with = "nullable")]
    object_selector: LabelSelector,
    #[serde(default, deserialize_with = "nullable")]
    match_conditions: Vec<MatchCondition>,
    #[serde(default, deserialize_with = "nullable")]
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct MatchCondition {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default, deserialize_with = "nullable")]
    api_groups: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    resources: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    operations: Vec<String>,
}

#[derive(Deserialize)]
struct ClientConfig {
    service: Option<Service>,
    url: Option<String>,
}

#[derive(Clone, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Service {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) port: Option<u16>,
}

/// Where the API server calls.
#[derive(Clone, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Target {
    Service(Service),
    Url(String),
}

impl Configuration {
    pub(super) fn read(role: Role, mut object: Value) -> anyhow::Result<Self> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let name = text("/metadata/name").unwrap_or_default();
        let version = text("/metadata/labels/app.kubernetes.io~1version");
        let webhooks = object.get_mut("webhooks").map(Value::take).filter(|hooks| !hooks.is_null());
        let webhooks = webhooks.map(serde_json::from_value).transpose()?.unwrap_or_default();
        Ok(Self { role, name, version, webhooks })
    }

    /// The namespace that Plimsoll runs in, if it runs in this cluster.
    pub(super) fn namespace(&self) -> Option<&str> {
        self.webhooks
            .iter()
            .find_map(|hook| hook.client_config.service.as_ref())
            .map(|s| s.namespace.as_str())
    }
}

impl Hook {
    fn is_fatal(&self) -> bool {
        self.failure_policy != "Ignore"
    }

    /// Whether requests in the namespace are sent, by its labels.
    pub(super) fn lets_through(&self, name: &str, labels: &Labels) -> bool {
        let labels = labels.iter().chain([(NAME_LABEL, name)]).collect();
        self.namespace_selector.matches(&labels)
    }

    /// Whether it is asked about anything but the policies, which lie in no namespace.
    fn is_namespaced(&self) -> bool {
        let resources = self.rules.iter().flat_map(|rule| &rule.resources);
        resources.into_iter().any(|resource| !resource.starts_with("invariantpolicies"))
    }

    /// Whether it is asked about people's writes of an ordinary kind.
    pub(super) fn judges(&self, resource: &str) -> bool {
        let (group, resource) = resource.split_once('/').unwrap_or(("", resource));
        self.rules.iter().any(|rule| rule.covers(group, resource))
    }
}

impl Rule {
    fn covers(&self, group: &str, resource: &str) -> bool {
        let groups = self.api_groups.iter().any(|g| g == "*" || g == group);
        let is = |r: &String| {
            let (main, sub) = resource.split_once('/').unwrap_or((resource, ""));
            let (of_main, of_sub) = r.split_once('/').unwrap_or((r, ""));
            (of_main == "*" || of_main == main) && (of_sub == sub || (of_sub == "*" && r.contains('/')))
        };
        groups && self.resources.iter().any(is)
    }

    fn is_wild(&self) -> bool {
        self.api_groups.iter().any(|g| g == "*") || self.resources.iter().any(|r| r.starts_with('*'))
    }
}

/// The places that the API server calls, each once.
pub(super) fn targets(configurations: &[Configuration]) -> BTreeSet<Target> {
    let hooks = configurations.iter().flat_map(|configuration| &configuration.webhooks);
    hooks
        .filter_map(|hook| match (&hook.client_config.service, &hook.client_config.url) {
            (Some(service), _) => Some(Target::Service(service.clone())),
            // Both paths are served at one place.
            (None, Some(url)) => {
                let (scheme, rest) = url.split_once("://")?;
                let authority = rest.split('/').next()?;
                Some(Target::Url(format!("{scheme}://{authority}")))
            }
            (None, None) => None,
        })
        .collect()
}

pub(super) fn examine(checks: &mut Checks, configurations: &[Configuration]) {
    let install = "Install the chart, or look for who deleted or relabelled it. Plimsoll finds its own by the label app.kubernetes.io/name: plimsoll";
    for role in [Role::Validating, Role::Mutating] {
        let of_role: Vec<_> = configurations.iter().filter(|c| c.role == role).collect();
        let about = role.as_str();
        match of_role.as_slice() {
            [] if role == Role::Validating => {
                checks.problem(about, "there is none: nothing is judged", install);
            }
            [] => checks.warning(about, "there is none: nothing is filled in, so more is refused", install),
            [_] => {}
            many => {
                let names: Vec<&str> = many.iter().map(|c| c.name.as_str()).collect();
                checks.warning(
                    about,
                    format!("there are {}: {}", many.len(), names.join(", ")),
                    "Every request is sent to each of them. Delete what an older installation left behind",
                );
            }
        }
    }
    for configuration in configurations {
        configuration.examine(checks);
    }
}

impl Configuration {
    fn examine(&self, checks: &mut Checks) {
        let about = format!("{} {}", self.role.as_str(), self.name);
        let before = checks.0.len();
        let own = self.namespace().map(str::to_owned);
        for hook in &self.webhooks {
            let about = format!("{about}, {}", hook.name);
            self.answers(hook, checks, &about);
            self.stays_out(hook, own.as_deref(), checks, &about);
        }
        if self.role == Role::Validating {
            let missing: Vec<&str> = JUDGED
                .into_iter()
                .filter(|resource| !self.webhooks.iter().any(|hook| hook.judges(resource)))
                .collect();
            if !missing.is_empty() {
                checks.problem(
                    &about,
                    format!("is not asked about {}", missing.join(", ")),
                    "What is not sent is not judged. Put the chart's rules back: helm upgrade",
                );
            }
        }
        let ours = env!("CARGO_PKG_VERSION");
        if let Some(version) = self.version.as_deref().filter(|version| *version != ours) {
            checks.warning(
                &about,
                format!("is of version {version}, this program of {ours}"),
                "Run the doctor of the version that is installed: what it expects may have changed",
            );
        }
        if checks.0.len() == before {
            let hooks: Vec<&str> = self.webhooks.iter().map(|hook| hook.name.as_str()).collect();
            checks.ok(&about, format!("as the chart makes it: {}", hooks.join(", ")));
        }
    }

    /// Whether it is asked what it should be asked, and its answer counts.
    fn answers(&self, hook: &Hook, checks: &mut Checks, about: &str) {
        let put_back = "Put the chart's value back: helm upgrade";
        let may_fail_open =
            self.role == Role::Mutating || FAIL_OPEN.iter().any(|name| hook.name.starts_with(name));
        match (hook.is_fatal(), may_fail_open) {
            (false, false) => checks.problem(
                about,
                "has failurePolicy Ignore: while Plimsoll can't be reached, everything is let in unjudged",
                "Set webhook.failurePolicy: Fail, unless that is what you want",
            ),
            (true, true) => checks.problem(
                about,
                "has failurePolicy Fail: an outage of Plimsoll stops more than it has to",
                "Set failurePolicy: Ignore: what it would have done is judged or done once more elsewhere",
            ),
            _ => {}
        }
        if !matches!(hook.side_effects.as_str(), "None" | "NoneOnDryRun") {
            checks.problem(
                about,
                format!("has sideEffects {}: every dry run is refused", hook.side_effects),
                put_back,
            );
        }
        if hook.match_policy == "Exact" {
            checks.problem(
                about,
                "has matchPolicy Exact: the same object by another API version isn't judged",
                put_back,
            );
        }
        if !hook.object_selector.match_labels.is_empty() || !hook.object_selector.match_expressions.is_empty()
        {
            checks.problem(
                about,
                "has an objectSelector: a scale has no labels, and the author of an object writes them",
                "Select objects in the policy (spec.match.objectSelector) instead",
            );
        }
        let timeout = hook.timeout_seconds.unwrap_or(10);
        if timeout > LONGEST {
            checks.warning(
                about,
                format!("may hold up each request for {timeout} s"),
                "Plimsoll answers in milliseconds. Set webhook.timeoutSeconds: 3",
            );
        }
    }

    /// Whether an outage of Plimsoll leaves the cluster alone.
    fn stays_out(&self, hook: &Hook, own: Option<&str>, checks: &mut Checks, about: &str) {
        let none = Labels::default();
        let reached: Vec<&str> = SYSTEM
            .into_iter()
            .chain(own)
            .filter(|name| hook.is_namespaced() && hook.lets_through(name, &none))
            .collect();
        if !reached.is_empty() {
            let found = format!("is asked about namespace {}", reached.join(", "));
            let advice = "LOCKOUT: what has to start before Plimsoll would wait for Plimsoll. Exclude them by \
                kubernetes.io/metadata.name in namespaceSelector, as the chart does";
            match hook.is_fatal() {
                true => checks.problem(about, found, advice),
                false => checks.warning(about, found, advice),
            }
        }
        if hook.rules.iter().any(Rule::is_wild) {
            checks.problem(
                about,
                "has a rule with a wildcard",
                "LOCKOUT: everything waits for Plimsoll. Name the resources, as the chart does",
            );
        }
        let vital: Vec<&str> = VITAL.into_iter().filter(|resource| hook.judges(resource)).collect();
        if !vital.is_empty() {
            checks.problem(
                about,
                format!("is asked about {}", vital.join(", ")),
                "LOCKOUT: nodes and logins depend on them, and Plimsoll has no rule for them. Take them out",
            );
        }
        let skips =
            hook.match_conditions.iter().any(|condition| condition.name == "not-a-cluster-controller");
        if hook.is_fatal() && !skips {
            checks.warning(about, "has no matchCondition not-a-cluster-controller",
                "The cluster's own loops wait for Plimsoll too: CronJobs start no Jobs in an outage. helm upgrade puts it back");
        }
        if self.role == Role::Validating
            && hook.is_fatal()
            && hook.judges("apps/deployments/scale")
            && !hook.match_conditions.iter().any(|condition| condition.name == "not-an-autoscaler")
        {
            checks.warning(
                about,
                "has no matchCondition not-an-autoscaler",
                "Autoscalers stop in an outage of Plimsoll. helm upgrade puts it back",
            );
        }
        if !hook.rules.iter().flat_map(|rule| &rule.operations).all(|op| op == "CREATE" || op == "UPDATE") {
            checks.warning(
                about,
                "is asked about more than CREATE and UPDATE",
                "Deleting is never refused, so it need not be asked about. Name the two",
            );
        }
    }
}
