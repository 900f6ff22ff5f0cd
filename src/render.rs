//! A finding as one line, for every door: the webhook's reply, warnings, `check` and records.

pub mod audit;
mod html;
pub mod page;
pub mod reference;
pub mod report;

use std::collections::HashMap;

use crate::admission::StatusCause;
use crate::verdict::{Action, Edit, Judged, State, Subject, Verdict};
use crate::waiver::PREFIX;

/// The longest piece of user-made text that a line quotes, in characters.
const LONGEST_QUOTE: usize = 512;
/// How many findings a denial spells out for people.
const MOST_LINES: usize = 16;
/// How many it lists for machines.
const MOST_CAUSES: usize = 64;
/// How many findings are told beside the answer: an apiserver passes on 4096 runes of them.
const MOST_WARNINGS: usize = 64;
/// The longest line: an apiserver cuts warnings at 256 runes once all of them exceed 4096.
const LONGEST_WARNING: usize = 250;

/// A number of things in words: `1 finding`, `2 findings`.
pub(crate) fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// The message of a denial. kubectl prints it as it is, behind the webhook's name.
pub fn denial(verdict: &Verdict) -> String {
    let lines: Vec<String> = verdict.findings.iter().filter(|judged| judged.denies()).map(finding).collect();
    match lines.as_slice() {
        [line] => line.clone(),
        lines => {
            let numbered = lines.iter().enumerate().take(MOST_LINES);
            let numbered: String =
                numbered.map(|(index, line)| format!("\n({}) {line}", index + 1)).collect();
            let more = lines.len().saturating_sub(MOST_LINES);
            let more = if more > 0 { format!("\nand {more} more") } else { String::new() };
            format!("{} findings:{numbered}{more}", lines.len())
        }
    }
}

/// The denial's causes, for machines.
pub fn causes(verdict: &Verdict) -> Vec<StatusCause> {
    let denying = verdict.findings.iter().filter(|judged| judged.denies());
    denying
        .take(MOST_CAUSES)
        .map(|judged| StatusCause {
            reason: judged.finding.rule.to_owned(),
            message: finding(judged),
            field: sanitise(&judged.finding.path),
        })
        .collect()
}

/// What the user is told although the request is let in, or beside its denial.
pub fn warnings(verdict: &Verdict) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut filled: HashMap<_, Vec<&Judged>> = HashMap::new();
    for judged in &verdict.findings {
        if let Some(container) = filled_in_container(judged) {
            filled.entry(container).or_default().push(judged);
        }
    }
    for judged in &verdict.findings {
        match filled_in_container(judged).map(|container| filled.remove(&container)) {
            Some(Some(all)) if all.len() > 1 => warnings.push(filled_in(&all)),
            // With the first one of its container.
            Some(None) => {}
            _ => warnings.extend(warning(judged)),
        }
    }
    let more = warnings.len().saturating_sub(MOST_WARNINGS);
    warnings.truncate(MOST_WARNINGS);
    if more > 0 {
        warnings.push(format!("and {}", counted(more, "warning more", "warnings more")));
    }
    warnings.extend(verdict.notices.iter().map(|notice| cut(&sanitise(notice))));
    warnings
}

/// A finding with everything that its author needs to mend or to waive it.
pub fn finding(judged: &Judged) -> String {
    let finding = &judged.finding;
    let policy = judged.policies.first().map_or("the policy", String::as_str);
    let waive = match (judged.waivable, judged.on_parent) {
        (true, true) => format!(", or waive on the {}: {PREFIX}{}", finding.subject.kind, finding.rule),
        (true, false) => format!(", or waive: {PREFIX}{}", finding.rule),
        (false, _) => String::new(),
    };
    sanitise(&format!(
        "{}: {} {}, {policy} needs {} ({}){}. {}{waive}. Policy: {}.",
        finding.rule,
        finding.subject,
        finding.says,
        finding.needs,
        finding.path,
        remark(judged),
        finding.remedy,
        judged.policies.join(", "),
    ))
}

/// A finding as it stands: what refuses a request in full, anything else as its warning says it.
pub fn standing(judged: &Judged) -> String {
    if judged.denies() { finding(judged) } else { sanitise(&brief(judged)) }
}

fn remark(judged: &Judged) -> String {
    judged.remark.as_ref().map_or_else(String::new, |remark| format!("; {remark}"))
}

fn warning(judged: &Judged) -> Option<String> {
    let is_silent = judged.denies() || judged.action == Action::Audit;
    (!is_silent).then(|| cut(&sanitise(&brief(judged))))
}

/// A finding that refuses nothing.
fn brief(judged: &Judged) -> String {
    let (finding, remark) = (&judged.finding, remark(judged));
    let start = format!("{}: {} {}", finding.rule, finding.subject, finding.says);
    match judged.state {
        State::Fixed => format!("{}: set {} in {}", finding.rule, fixed(judged), finding.subject),
        State::Waived => {
            let owner = judged.waiver.as_ref().map_or("", |waiver| waiver.owner.as_str());
            let loud = judged.waiver.as_ref().is_some_and(|waiver| waiver.emergency);
            let kind = if loud { "waived in an EMERGENCY" } else { "waived" };
            format!("{start} ({kind} by {owner}){remark}")
        }
        State::Existing => format!("{start}, no worse than before{remark}. {}", finding.remedy),
        State::New => format!("{start}{remark}. {}", finding.remedy),
    }
}

/// The container that a finding tells something was filled in for: all of one take one line.
fn filled_in_container(judged: &Judged) -> Option<(&str, &Subject)> {
    let is_told = judged.state == State::Fixed && judged.action != Action::Audit;
    let container = judged.finding.container.as_deref().filter(|_| is_told)?;
    Some((container, &judged.finding.subject))
}

/// What several rules filled in for one container.
fn filled_in(all: &[&Judged]) -> String {
    let finding = all.first().map(|judged| &judged.finding);
    let container = finding.and_then(|finding| finding.container.as_deref()).unwrap_or_default();
    let words: Vec<String> = all.iter().copied().flat_map(edits).collect();
    let rules: Vec<&str> = all.iter().map(|judged| judged.finding.rule).collect();
    let subject = finding.map(|finding| finding.subject.to_string()).unwrap_or_default();
    let text = format!("set in container {container} of {subject}: {}", words.join(", "));
    let with_rules = sanitise(&format!("{text} ({})", rules.join(", ")));
    // The values tell more than the rules do, if only one of them fits.
    if with_rules.chars().count() <= LONGEST_WARNING { with_rules } else { cut(&sanitise(&text)) }
}

/// What was filled in, in a few words.
fn fixed(judged: &Judged) -> String {
    let words = edits(judged).join(" and ");
    match &judged.finding.container {
        Some(container) => format!("{words} for container {container}"),
        None => words,
    }
}

fn edits(judged: &Judged) -> Vec<String> {
    let words = judged.finding.fix.iter().map(|edit| match edit {
        Edit::SetInteger(pointer, value) => format!("{}: {value}", field(pointer)),
        Edit::SetBoolean(pointer, value) => format!("{}: {value}", field(pointer)),
        Edit::SetText(pointer, value) => format!("{}: {value}", field(pointer)),
        Edit::SetList(pointer, values) => format!("{}: [{}]", field(pointer), values.join(", ")),
        Edit::SetInherited { field: pointer, kind, .. } => format!("{}: {kind}", field(pointer)),
        Edit::SetType(pointer, kind) => format!("{}: {kind}", field(pointer)),
        Edit::Spread { .. } => "a soft topologySpreadConstraint over hostnames".to_owned(),
        Edit::MountTmp { size_limit, .. } => format!("a {size_limit} emptyDir at /tmp"),
    });
    words.collect()
}

/// The last name of a pointer, or what is in a security context.
fn field(pointer: &str) -> String {
    match pointer.rsplit_once("/securityContext/") {
        Some((_, field)) => field.replace('/', "."),
        None => pointer.rsplit_once('/').map_or(pointer, |(_, field)| field).to_owned(),
    }
}

/// Takes out what would break a terminal or hide text in it: control characters, line and paragraph
/// separators, and marks that change the direction of writing.
pub fn sanitise(text: &str) -> String {
    let is_hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    const LONGEST: usize = LONGEST_QUOTE * 4;
    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if is_plain && text.len() <= LONGEST {
        return text.to_owned();
    }
    let mut clean: String = text.chars().take(LONGEST).map(|c| if is_hidden(c) { ' ' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        clean.push('…');
    }
    clean
}

fn cut(text: &str) -> String {
    if text.chars().count() <= LONGEST_WARNING {
        return text.to_owned();
    }
    text.chars().take(LONGEST_WARNING - 1).collect::<String>() + "…"
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::engine;
    use crate::facts::NamespaceFacts;
    use crate::object::{Kind, Object};

    #[test]
    fn warnings_are_cut_where_nobody_reads_on() {
        let policy = r#"{"apiVersion":"plimsoll.dev/v1alpha1","kind":"InvariantPolicy","metadata":{"name":"a"},
            "spec":{"rules":{"probes":{}}}}"#;
        let policies = crate::policy::load::from_texts(&[("a".to_owned(), policy.to_owned())]).unwrap();
        let container = |i| format!(r#"{{"name":"c{i}","ports":[{{"containerPort":80}}]}}"#);
        let containers: Vec<_> = (0..66).map(container).collect();
        let text =
            format!(r#"{{"spec":{{"template":{{"spec":{{"containers":[{}]}}}}}}}}"#, containers.join(","));
        let object = Object::read(Kind::Deployment, &text).unwrap();
        let request = engine::Request::create(Kind::Deployment, "shop", object);
        let outcome = engine::judge(&request, &policies, &NamespaceFacts::default(), Timestamp::now());
        let lines = warnings(&outcome.verdict);
        assert_eq!((lines.len(), lines.last().unwrap().as_str()), (65, "and 2 warnings more"));
    }

    #[test]
    fn nothing_reaches_the_terminal_but_text() {
        assert_eq!(sanitise("a\u{1b}[31mred\nb\u{202e}c\u{85}"), "a [31mred b c ");
        assert_eq!(cut(&"x".repeat(300)).chars().count(), LONGEST_WARNING);
    }
}
