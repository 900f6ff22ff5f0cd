//! What is not as expected, in lines: `-` is what was expected, `+` what was found.

use serde_json::Value;

use super::{Decision, Expected, ExpectedFinding, findings};
use crate::render::{sanitise, standing};
use crate::verdict::{Judged, Verdict};

pub(super) fn differences(
    expected: &Expected,
    verdict: &Verdict,
    filled: &Verdict,
    stored: &Value,
) -> Vec<String> {
    let mut lines = Vec::new();
    let decision = if verdict.allowed() { Decision::Allowed } else { Decision::Denied };
    if expected.decision.is_some_and(|expected| expected != decision) {
        lines.push("decision".to_owned());
        lines.extend(expected.decision.map(|decision| format!("  - {decision:?}")));
        lines.push(format!("  + {decision:?}"));
        // Why it was refused is what one wants to know next.
        let denials = verdict.findings.iter().filter(|judged| judged.denies());
        lines.extend(denials.map(|judged| format!("    {}", standing(judged))));
    }
    if let Some(expected) = &expected.findings {
        let mut found: Vec<&Judged> = findings(verdict, filled).collect();
        let mut missing = Vec::new();
        for finding in expected {
            match found.iter().position(|judged| finding.is(judged)) {
                Some(at) => drop(found.remove(at)),
                None => missing.push(finding),
            }
        }
        if !(missing.is_empty() && found.is_empty()) {
            lines.push("findings".to_owned());
            lines.extend(missing.into_iter().map(|finding| format!("  - {}", finding.words())));
            lines.extend(found.into_iter().map(|judged| format!("  + {}", words(judged))));
        }
    }
    if let Some(expected) = &expected.stored {
        let mut differences = Vec::new();
        lacks(expected, Some(stored), "", &mut differences);
        if !differences.is_empty() {
            lines.push("stored".to_owned());
            lines.extend(differences);
        }
    }
    if let Some(expected) = &expected.patch {
        let found: Vec<Value> = filled.patch.iter().filter_map(|op| serde_json::to_value(op).ok()).collect();
        if *expected != found {
            lines.push("patch".to_owned());
            let lacking = expected.iter().filter(|operation| !found.contains(operation));
            lines.extend(lacking.map(|operation| format!("  - {operation}")));
            let surplus = found.iter().filter(|operation| !expected.contains(operation));
            lines.extend(surplus.map(|operation| format!("  + {operation}")));
            if lines.last().is_some_and(|line| line == "patch") {
                lines.extend(found.iter().map(|operation| format!("  + {operation} (the order differs)")));
            }
        }
    }
    for expected in &expected.notices {
        if !verdict.notices.iter().any(|notice| notice.contains(expected)) {
            lines.push("notices".to_owned());
            lines.push(format!("  - …{expected}…"));
            lines.extend(verdict.notices.iter().map(|notice| format!("  + {}", sanitise(notice))));
        }
    }
    lines
}

impl ExpectedFinding {
    fn is(&self, judged: &Judged) -> bool {
        let finding = &judged.finding;
        let same = |expected: &Option<String>, found: &str| expected.as_deref().is_none_or(|e| e == found);
        self.rule == finding.rule
            && same(&self.action, judged.action.as_str())
            && same(&self.state, judged.state.as_str())
            && same(&self.path, &finding.path)
            && same(&self.container, finding.container.as_deref().unwrap_or_default())
            && self.message.as_ref().is_none_or(|part| standing(judged).contains(part))
    }

    fn words(&self) -> String {
        let Self { rule, action, state, path, container, message } = self;
        let container = container.as_ref().map(|name| format!("container {name}"));
        let message = message.as_ref().map(|part| format!("…{part}…"));
        let parts = [Some(rule.clone()), action.clone(), state.clone(), path.clone(), container, message];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

fn words(judged: &Judged) -> String {
    let (action, state, path) = (judged.action.as_str(), judged.state.as_str(), &judged.finding.path);
    let message = standing(judged);
    let message = message.strip_prefix(&format!("{}: ", judged.finding.rule)).unwrap_or(&message);
    format!("{} {action} {state} {}: {message}", judged.finding.rule, sanitise(path))
}

/// Where an object lacks what was expected of it.
fn lacks(expected: &Value, found: Option<&Value>, path: &str, lines: &mut Vec<String>) {
    match (expected, found) {
        (Value::Null, None | Some(Value::Null)) => {}
        (Value::Object(expected), Some(Value::Object(found))) => {
            for (key, value) in expected {
                let dot = if path.is_empty() { "" } else { "." };
                lacks(value, found.get(key), &format!("{path}{dot}{key}"), lines);
            }
        }
        (Value::Array(expected), Some(Value::Array(found))) if expected.len() == found.len() => {
            for (index, (expected, found)) in expected.iter().zip(found).enumerate() {
                lacks(expected, Some(found), &format!("{path}[{index}]"), lines);
            }
        }
        (expected, Some(found)) if expected == found => {}
        (expected, found) => {
            lines.push(format!("  - {path}: {expected}"));
            lines
                .push(format!("  + {path}: {}", found.map_or_else(|| "absent".to_owned(), Value::to_string)));
        }
    }
}
