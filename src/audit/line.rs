//! A record as one bounded, harmless line.
//!
//! Whoever sends a request chooses names, annotations and groups, so nothing here trusts their size
//! or their characters. Sizes are counted as JSON writes them, which makes the bound exact:
//!
//! * Every text has a limit; what is longer ends in `…` and counts in `truncated.texts`.
//! * Lists have one too; entries left out count in `truncated` under the list's name.
//! * Control characters (but line feed and tab, which JSON escapes), the two Unicode line ends and
//!   what reorders text become U+FFFD: a terminal or a log viewer shows what was written.

#[cfg(test)]
mod tests;

use std::io;

use serde::Serialize;
use serde_json::Value;

use super::record::{
    Finding, PatchOperation, Record, Resource, Truncated, User, Waiver, WaiverChange, Workload,
};

/// No line is longer than this, its line feed included.
pub const MAX_LINE: usize = 64 * 1024;

/// Room kept for `truncated`, the brackets around lists and the line feed.
const RESERVE: usize = 512;

/// So many findings and operations mostly fit as they are; to see whether they do costs less than to
/// measure each.
const FEW: usize = 32;

const NAME: usize = 256;
const USER: usize = 1024;
const LIST: usize = 8 * 1024;
const PATH: usize = 1024;
const FIELD: usize = 512;
const REASON: usize = 1024;
const MESSAGE: usize = 2048;
const VALUE: usize = 1024;

impl Record {
    /// This record as one line of JSON that ends in a line feed, at most [`MAX_LINE`] bytes.
    #[must_use]
    pub fn to_line(&self) -> Vec<u8> {
        let mut cut = Cut(self.truncated);
        let mut record = self.bounded_head(&mut cut);
        let head = cut.0;
        if self.findings.len() + self.patch.len() <= FEW {
            record.findings = self.findings.iter().map(|finding| cut.finding(finding)).collect();
            record.patch = self.patch.iter().map(|operation| cut.operation(operation)).collect();
            record.truncated = cut.0;
            let line = record.written();
            if line.len() <= MAX_LINE - RESERVE {
                return line;
            }
            (record.findings, record.patch) = (Vec::new(), Vec::new());
            (record.truncated, cut.0) = (Truncated::default(), head);
        }
        let mut room = MAX_LINE.saturating_sub(RESERVE + size(&record));
        record.findings = fit_findings(&self.findings, &mut room, &mut cut);
        record.patch = fit(self.patch.iter(), &mut room, &mut cut, Cut::operation);
        cut.0.patch += left_out(&self.patch, &record.patch);
        record.truncated = cut.0;
        record.written()
    }

    /// This record as it is, and a line feed.
    fn written(&self) -> Vec<u8> {
        let mut line = Vec::with_capacity(1024);
        // Writing to memory doesn't fail, and no type in a record has keys that JSON can't hold.
        if serde_json::to_writer(&mut line, self).is_err() {
            line.clear();
        }
        line.push(b'\n');
        line
    }

    /// Everything but the two long lists.
    fn bounded_head(&self, cut: &mut Cut) -> Self {
        Self {
            schema: self.schema,
            time: self.time,
            uid: cut.text(&self.uid, NAME),
            decision: self.decision,
            operation: cut.text(&self.operation, NAME),
            dry_run: self.dry_run,
            user: cut.user(&self.user),
            resource: cut.resource(&self.resource),
            workload: self.workload.as_ref().map(|workload| cut.workload(workload)),
            policies: {
                let policies = cut.list(&self.policies);
                cut.0.policies += left_out(&self.policies, &policies);
                policies
            },
            findings: Vec::new(),
            waivers: {
                let mut room = LIST;
                let waivers = fit(self.waivers.iter(), &mut room, cut, Cut::waiver_change);
                cut.0.waivers += left_out(&self.waivers, &waivers);
                waivers
            },
            patch: Vec::new(),
            duration_micros: self.duration_micros,
            instance: cut.text(&self.instance, NAME),
            truncated: Truncated::default(),
            exempt: self.exempt,
        }
    }
}

/// Bounds the parts of a record and keeps count of what it cuts.
struct Cut(Truncated);

impl Cut {
    fn text(&mut self, text: &str, limit: usize) -> String {
        const ELLIPSIS: char = '…';
        // Most texts are short and plain.
        let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if is_plain && text.len() + text.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count() <= limit
        {
            return text.to_owned();
        }
        let mut out = String::with_capacity(text.len().min(limit));
        let mut size = 0;
        let mut last_fit = 0;
        for character in text.chars().map(harmless) {
            size += escaped_size(character);
            if size > limit {
                out.truncate(last_fit);
                out.push(ELLIPSIS);
                self.0.texts += 1;
                break;
            }
            out.push(character);
            if size + ELLIPSIS.len_utf8() <= limit {
                last_fit = out.len();
            }
        }
        out
    }

    fn option(&mut self, text: Option<&String>, limit: usize) -> Option<String> {
        text.map(|text| self.text(text, limit))
    }

    fn list(&mut self, items: &[String]) -> Vec<String> {
        let mut room = LIST;
        fit(items.iter(), &mut room, self, |cut, item| cut.text(item, NAME))
    }

    fn user(&mut self, user: &User) -> User {
        let groups = self.list(&user.groups);
        self.0.groups += left_out(&user.groups, &groups);
        User { name: self.text(&user.name, USER), groups }
    }

    fn resource(&mut self, resource: &Resource) -> Resource {
        Resource {
            group: self.text(&resource.group, NAME),
            version: self.text(&resource.version, NAME),
            kind: self.text(&resource.kind, NAME),
            subresource: self.option(resource.subresource.as_ref(), NAME),
            namespace: self.option(resource.namespace.as_ref(), NAME),
            name: self.text(&resource.name, NAME),
        }
    }

    fn workload(&mut self, workload: &Workload) -> Workload {
        Workload {
            kind: self.text(&workload.kind, NAME),
            namespace: self.text(&workload.namespace, NAME),
            name: self.text(&workload.name, NAME),
        }
    }

    fn finding(&mut self, finding: &Finding) -> Finding {
        Finding {
            rule: self.text(&finding.rule, NAME),
            action: finding.action,
            state: finding.state,
            path: self.text(&finding.path, PATH),
            observed: self.option(finding.observed.as_ref(), FIELD),
            required: self.option(finding.required.as_ref(), FIELD),
            message: self.text(&finding.message, MESSAGE),
            waiver: finding.waiver.as_ref().map(|waiver| self.waiver(waiver)),
        }
    }

    fn waiver(&mut self, waiver: &Waiver) -> Waiver {
        Waiver {
            owner: self.text(&waiver.owner, NAME),
            reason: self.text(&waiver.reason, REASON),
            expires: self.option(waiver.expires.as_ref(), NAME),
            ticket: self.option(waiver.ticket.as_ref(), NAME),
            emergency: waiver.emergency,
        }
    }

    fn waiver_change(&mut self, change: &WaiverChange) -> WaiverChange {
        WaiverChange {
            annotation: self.text(&change.annotation, NAME),
            change: change.change,
            waiver: self.waiver(&change.waiver),
            authorization: change.authorization,
            authorization_reason: self.option(change.authorization_reason.as_ref(), FIELD),
        }
    }

    fn operation(&mut self, operation: &PatchOperation) -> PatchOperation {
        PatchOperation {
            op: self.text(&operation.op, NAME),
            path: self.text(&operation.path, PATH),
            value: operation.value.as_ref().map(|value| self.value(value)),
        }
    }

    /// A value is whole or not there: half of one would be another value.
    fn value(&mut self, value: &Value) -> Value {
        // The first look spares copying what is far too large.
        if size(value) <= 4 * VALUE {
            let value = harmless_value(value);
            if size(&value) <= VALUE {
                return value;
            }
        }
        self.0.texts += 1;
        Value::from("…")
    }
}

/// Findings in their order while they fit. If they don't, those that refuse the request go first: a
/// record of a denial always says why.
fn fit_findings(findings: &[Finding], room: &mut usize, cut: &mut Cut) -> Vec<Finding> {
    let (before, all_of_it) = (cut.0, *room);
    let mut kept = fit(findings.iter(), room, cut, Cut::finding);
    if kept.len() < findings.len() {
        (cut.0, *room) = (before, all_of_it);
        let (refusing, others): (Vec<_>, Vec<_>) = findings.iter().partition(|finding| finding.refuses());
        kept = fit(refusing.into_iter().chain(others), room, cut, Cut::finding);
    }
    cut.0.findings += left_out(findings, &kept);
    kept
}

/// The first items that fit into `room` as JSON, each bounded; `room` shrinks by what they take.
fn fit<'a, T: 'a, U: Serialize>(
    items: impl Iterator<Item = &'a T>,
    room: &mut usize,
    cut: &mut Cut,
    bound: impl Fn(&mut Cut, &'a T) -> U,
) -> Vec<U> {
    let mut kept = Vec::new();
    for item in items {
        let before = cut.0;
        let item = bound(cut, item);
        let Some(rest) = room.checked_sub(size(&item).saturating_add(",".len())) else {
            cut.0 = before;
            break;
        };
        *room = rest;
        kept.push(item);
    }
    kept
}

fn left_out<T, U>(all: &[T], kept: &[U]) -> u64 {
    all.len().saturating_sub(kept.len()) as u64
}

fn harmless(character: char) -> char {
    match character {
        '\n' | '\t' => character,
        // Line and paragraph separator, then the marks, embeddings, overrides and isolates of direction.
        '\u{2028}' | '\u{2029}' => '\u{fffd}',
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        _ if character.is_control() => '\u{fffd}',
        _ => character,
    }
}

fn harmless_value(value: &Value) -> Value {
    let clean = |text: &String| text.chars().map(harmless).collect::<String>();
    match value {
        Value::String(text) => Value::String(clean(text)),
        Value::Array(items) => items.iter().map(harmless_value).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (clean(name), harmless_value(value))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// How many bytes JSON takes for what [`harmless`] lets through.
fn escaped_size(character: char) -> usize {
    match character {
        '"' | '\\' | '\n' | '\t' => 2,
        _ => character.len_utf8(),
    }
}

/// How many bytes `value` takes as JSON.
fn size(value: &impl Serialize) -> usize {
    struct Count(usize);

    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let mut count = Count(0);
    match serde_json::to_writer(&mut count, value) {
        Ok(()) => count.0,
        Err(_) => usize::MAX,
    }
}
