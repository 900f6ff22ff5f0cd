//! The namespaces that policies govern, against those that the webhook lets through.

use super::Checks;
use super::webhook::{Configuration, Hook, NAME_LABEL};
use crate::cluster::Cluster;
use crate::cluster::webhooks::Role;
use crate::object::Labels;
use crate::policy::Policy;

/// How many names a line spells out.
const MOST: usize = 8;

pub(super) async fn examine(
    checks: &mut Checks,
    cluster: &Cluster,
    configurations: &[Configuration],
    policies: &[Policy],
) -> anyhow::Result<()> {
    let validating = configurations.iter().filter(|configuration| configuration.role == Role::Validating);
    let hooks: Vec<&Hook> =
        validating.flat_map(|c| &c.webhooks).filter(|hook| hook.judges("apps/deployments")).collect();
    if hooks.is_empty() {
        return Ok(());
    }
    let own = configurations.iter().find_map(Configuration::namespace);
    let excluded = ["kube-system", "kube-node-lease", "kube-public"].into_iter().chain(own);
    let excluded: Vec<&str> = excluded.collect();
    let (mut judged, mut unsent) = (Vec::new(), Vec::new());
    for namespace in cluster.inspect("/api/v1/namespaces", None).await? {
        let name =
            namespace.pointer("/metadata/name").and_then(|n| n.as_str()).unwrap_or_default().to_owned();
        let labels: Labels = namespace
            .pointer("/metadata/labels")
            .and_then(|labels| serde_json::from_value(labels.clone()).ok())
            .unwrap_or_default();
        let labels = labels.iter().chain([(NAME_LABEL, name.as_str())]).collect();
        let governed = policies.iter().any(|policy| policy.matching.namespace(&name, Some(&labels)));
        let sent = hooks.iter().any(|hook| hook.lets_through(&name, &labels));
        match (governed, sent) {
            (true, true) => judged.push(name),
            (true, false) if !excluded.contains(&name.as_str()) => unsent.push(name),
            _ => {}
        }
    }
    let about = "Namespaces";
    if !unsent.is_empty() {
        let advice = "A policy applies there, and nothing is sent to Plimsoll. Widen webhook.namespaceSelector, or take them out of the policies";
        checks.problem(about, format!("{} governed and not sent: {}", unsent.len(), some(&unsent)), advice);
    }
    match judged.len() {
        0 => checks.warning(
            about,
            "no policy applies in any",
            "Nothing is judged. Label one, for instance environment=production, or name it in a policy",
        ),
        _ => checks.ok(about, format!("{} governed: {}", judged.len(), some(&judged))),
    }
    Ok(())
}

fn some(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(MOST).map(String::as_str).collect();
    let more = names.len().saturating_sub(MOST);
    if more > 0 { format!("{} and {more} more", shown.join(", ")) } else { shown.join(", ") }
}
