//! Waivers that end soon, told of on their objects once a day.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use super::notice::{self, Notice, Reason, Regarding};
use crate::engine::waivers::{Listed, WaiverState};
use crate::render::sanitise;
use crate::verdict::Subject;

/// How long before its end a waiver is told of.
const AHEAD: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How often.
pub(super) const EVERY: SignedDuration = SignedDuration::from_hours(24);
/// How many are told of at a time, so that denials needn't wait behind them.
const AT_ONCE: usize = 25;

/// Remembers what was told of, and when.
#[derive(Debug, Default)]
pub struct Reminders(HashMap<Key, Timestamp>);

/// A waiver up to its end: one that is renewed is another.
#[derive(Debug, Eq, Hash, PartialEq)]
struct Key {
    subject: Subject,
    rule: String,
    ends: Timestamp,
}

impl Reminders {
    /// What is to be told now of all waivers there are; `uid` knows those of their objects.
    pub fn due(
        &mut self,
        listed: &[Listed],
        uid: impl Fn(&Listed) -> Option<String>,
        now: Timestamp,
    ) -> Vec<Notice> {
        self.0.retain(|key, _| key.ends > now);
        let mut due = Vec::new();
        for waiver in listed {
            let counts = matches!(waiver.state, WaiverState::Active | WaiverState::Expiring);
            let Some(ends) = waiver.ends.filter(|ends| counts && *ends > now) else { continue };
            let key = Key { subject: waiver.subject.clone(), rule: waiver.rule.clone(), ends };
            let is_told = self.0.get(&key).is_some_and(|told| now.duration_since(*told) < EVERY);
            if ends.duration_since(now) > AHEAD || is_told {
                continue;
            }
            self.0.insert(key, now);
            due.push(notice(waiver, uid(waiver)));
            if due.len() == AT_ONCE {
                break;
            }
        }
        due
    }
}

fn notice(waiver: &Listed, uid: Option<String>) -> Notice {
    let Subject { kind, namespace, name } = &waiver.subject;
    let by = match waiver.note.owner.as_str() {
        "" => String::new(),
        owner => format!(" by {}", sanitise(owner)),
    };
    let note = format!(
        "{}: the waiver{by} expires {} ({}): renew it or fix this",
        sanitise(&waiver.rule),
        sanitise(&waiver.note.expires),
        sanitise(&waiver.note.reason)
    );
    Notice {
        reason: Reason::WaiverEnds,
        regarding: Regarding {
            api_version: kind.api_version(),
            kind: kind.as_str().to_owned(),
            namespace: namespace.clone(),
            name: name.clone(),
            uid,
        },
        rule: waiver.rule.clone(),
        note: notice::cut(&note),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::waivers::Source;
    use crate::object::Kind;
    use crate::verdict::WaiverNote;

    fn listed(name: &str, expires: &str) -> Listed {
        let text = str::to_owned;
        Listed {
            subject: Subject { kind: Kind::CronJob, namespace: text("shop"), name: text(name) },
            rule: text("cron-interval"),
            source: Source::Annotation,
            state: WaiverState::Expiring,
            note: WaiverNote {
                owner: text("a@example.com"),
                reason: text("internal\ntool"),
                expires: text(expires),
                ..WaiverNote::default()
            },
            containers: Vec::new(),
            ends: Some(crate::waiver::end_of(expires).unwrap()),
            remark: None,
        }
    }

    fn told(reminders: &mut Reminders, listed: &[Listed], now: &str) -> Vec<String> {
        let due = reminders.due(listed, |_| None, now.parse().unwrap());
        due.into_iter().map(|notice| notice.regarding.name).collect()
    }

    #[test]
    fn each_waiver_that_ends_within_a_week_is_told_of_once_a_day_until_its_end() {
        let mut reminders = Reminders::default();
        let invalid = Listed { state: WaiverState::Invalid, ..listed("invalid", "2026-12-02") };
        let endless = Listed { ends: None, ..listed("endless", "2026-12-02") };
        let all = [listed("soon", "2026-12-02"), listed("later", "2026-12-08T12:00:00Z"), invalid, endless];
        assert_eq!(told(&mut reminders, &all, "2026-12-01T11:00:00Z"), ["soon"]);
        assert_eq!(told(&mut reminders, &all, "2026-12-01T12:00:00Z"), ["later"]);
        assert!(told(&mut reminders, &all, "2026-12-02T10:59:00Z").is_empty());
        assert_eq!(told(&mut reminders, &all, "2026-12-02T12:00:00Z"), ["soon", "later"]);
        assert_eq!(told(&mut reminders, &all, "2026-12-03T12:00:00Z"), ["later"], "the other one has ended");
        let renewed = [listed("later", "2026-12-09")];
        assert_eq!(told(&mut reminders, &renewed, "2026-12-03T12:00:10Z"), ["later"], "it is another now");
    }

    #[test]
    fn many_are_told_of_bit_by_bit() {
        let mut reminders = Reminders::default();
        let all: Vec<Listed> = (0..60).map(|n| listed(&n.to_string(), "2026-12-02")).collect();
        let counts: Vec<usize> =
            (0..4).map(|_| told(&mut reminders, &all, "2026-12-01T11:00:00Z").len()).collect();
        assert_eq!(counts, [25, 25, 10, 0]);
    }

    #[test]
    fn a_reminder_says_whose_waiver_of_what_ends_when() {
        let now = "2026-12-01T12:00:00Z".parse().unwrap();
        let due = Reminders::default().due(&[listed("tick", "2026-12-02")], |_| Some("7".to_owned()), now);
        let text = str::to_owned;
        let regarding = Regarding {
            api_version: text("batch/v1"),
            kind: text("CronJob"),
            namespace: text("shop"),
            name: text("tick"),
            uid: Some(text("7")),
        };
        assert_eq!(due[0].regarding, regarding);
        assert_eq!(
            due[0].note,
            "cron-interval: the waiver by a@example.com expires 2026-12-02 (internal tool): renew it or fix this"
        );
    }
}
