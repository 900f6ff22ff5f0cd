//! Waivers: a finding that somebody accepts, in the open and for a limited time.
//!
//! A waiver is an annotation on the object, `waiver.plimsoll.dev/<rule>`, or a grant in a policy.
//! Its value is a small YAML mapping (JSON works too). The clock is a parameter, so that the webhook
//! and the offline checks can't disagree.

mod limits;

use std::fmt;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde::Deserialize;

pub use limits::{Allow, Limits, RequiredField};

use crate::manifest::strict;
use crate::object::Kind;
use crate::verdict::WaiverNote;

/// What waiver annotations start with; the rule's name follows.
pub const PREFIX: &str = "waiver.plimsoll.dev/";

/// The shortest reason that says anything, in characters.
const SHORTEST_REASON: usize = 10;
/// The longest waiver, in bytes: reading YAML takes time.
const LONGEST: usize = 16 << 10;
/// How long an emergency waiver may last from now.
const EMERGENCY: Duration = Duration::from_secs(24 * 3600);
/// What a right waiver looks like, for those whose own isn't.
const FORM: &str = "expected a YAML mapping with owner, reason and expires, \
    e.g. {owner: team@example.com, reason: why this is fine, expires: 2027-03-31}";

/// A waiver as written.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Waiver {
    /// Who answers for it.
    #[serde(default)]
    pub owner: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// Its end, an RFC 3339 date or instant.
    #[serde(default)]
    pub expires: Option<String>,
    /// A ticket.
    #[serde(default)]
    pub ticket: Option<String>,
    /// The containers that it is about; all of them if there are none.
    #[serde(default)]
    pub containers: Vec<String>,
    /// Whether it is an emergency waiver.
    #[serde(default)]
    pub emergency: bool,
}

/// A waiver that a policy grants to an object by name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Grant {
    /// The rule.
    pub rule: String,
    /// The object's kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The waiver.
    pub waiver: Waiver,
    /// Its end.
    pub expires: Timestamp,
}

/// How a waiver stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It counts.
    Active,
    /// It counts, and ends soon.
    Expiring,
    /// It has ended, a short while ago.
    Grace,
    /// It has ended.
    Expired,
    /// It is no waiver.
    Invalid(String),
}

/// A waiver that was looked at, with its standing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Assessed {
    /// The waiver; empty if it couldn't be read.
    pub waiver: Waiver,
    /// Its end, where it has a readable one.
    pub ends: Option<Timestamp>,
    /// How it stands.
    pub standing: Standing,
}

impl Assessed {
    /// Whether it covers a finding about a container, or about no container in particular.
    pub fn covers(&self, container: Option<&str>) -> bool {
        match container {
            Some(name) => {
                self.waiver.containers.is_empty() || self.waiver.containers.iter().any(|c| c == name)
            }
            None => true,
        }
    }

    /// What records and messages say of it.
    pub fn note(&self) -> WaiverNote {
        let Waiver { owner, reason, expires, ticket, emergency, .. } = self.waiver.clone();
        WaiverNote {
            owner: owner.unwrap_or_default(),
            reason: reason.unwrap_or_default(),
            expires: expires.unwrap_or_default(),
            ticket,
            emergency,
        }
    }

    /// Its end for people: the instant, and that a bare date means the end of that day.
    pub fn end_in_words(&self) -> String {
        let written = self.waiver.expires.as_deref().unwrap_or_default();
        match self.ends {
            Some(_) if written.parse::<Date>().is_ok() && !written.contains('T') => {
                format!("at the end of {written} UTC")
            }
            Some(ends) => format!("at {ends}"),
            None => "never".to_owned(),
        }
    }
}

/// Reads and judges the value of a waiver annotation.
pub fn assess(text: &str, rule: &str, limits: &[&Limits], now: Timestamp) -> Assessed {
    match parse(text) {
        Ok(waiver) => judge(waiver, rule, limits, now),
        Err(problem) => {
            Assessed { waiver: Waiver::default(), ends: None, standing: Standing::Invalid(problem) }
        }
    }
}

/// Judges a grant: a policy may grant what it likes for itself, up to its end, but for the other
/// policies that have the rule the grant is a waiver like any other.
pub fn assess_grant(grant: &Grant, granting: &Limits, others: &[&Limits], now: Timestamp) -> Assessed {
    let standing = match problem(&grant.waiver, &grant.rule, others, Some(grant.expires), now) {
        Some(problem) => Standing::Invalid(problem),
        None => standing(grant.expires, &[&[granting], others].concat(), now),
    };
    Assessed { waiver: grant.waiver.clone(), ends: Some(grant.expires), standing }
}

fn parse(text: &str) -> Result<Waiver, String> {
    if text.len() > LONGEST {
        return Err(format!("it is longer than {LONGEST} bytes; {FORM}"));
    }
    let value: serde_json::Value =
        serde_saphyr::from_str(text).map_err(|_| format!("it is no YAML; {FORM}"))?;
    if !value.is_object() {
        return Err(FORM.to_owned());
    }
    strict::from_value(&value).map_err(|error| format!("{error}; {FORM}"))
}

fn judge(waiver: Waiver, rule: &str, limits: &[&Limits], now: Timestamp) -> Assessed {
    let ends = waiver.expires.as_deref().map(end_of).transpose();
    let problem = match &ends {
        Err(problem) => Some(problem.clone()),
        Ok(ends) => problem(&waiver, rule, limits, *ends, now),
    };
    let ends = ends.unwrap_or_default();
    let standing = match (problem, ends) {
        (Some(problem), _) => Standing::Invalid(problem),
        (None, Some(ends)) => standing(ends, limits, now),
        (None, None) => Standing::Active,
    };
    Assessed { waiver, ends, standing }
}

/// Why a waiver doesn't count under one of the policies; an expired one is no problem of its form.
fn problem(
    waiver: &Waiver,
    rule: &str,
    limits: &[&Limits],
    ends: Option<Timestamp>,
    now: Timestamp,
) -> Option<String> {
    let reason = waiver.reason.as_deref().unwrap_or_default();
    let lasts =
        ends.map_or(Duration::MAX, |ends| Duration::try_from(ends.duration_since(now)).unwrap_or_default());
    if waiver.emergency && lasts > EMERGENCY {
        return Some("an emergency waiver has to end within 24 hours".to_owned());
    }
    for limits in limits {
        for field in &limits.require {
            let (name, is_there) = match field {
                RequiredField::Expires => ("expires", ends.is_some()),
                RequiredField::Owner => {
                    ("owner", waiver.owner.as_ref().is_some_and(|o| !o.trim().is_empty()))
                }
                RequiredField::Reason => ("reason", !reason.trim().is_empty()),
                RequiredField::Ticket => {
                    ("ticket", waiver.ticket.as_ref().is_some_and(|t| !t.trim().is_empty()))
                }
            };
            if !is_there {
                return Some(format!("it has no {name}; {FORM}"));
            }
        }
        if limits.require.contains(&RequiredField::Reason) && reason.trim().chars().count() < SHORTEST_REASON
        {
            return Some(format!("its reason is shorter than {SHORTEST_REASON} characters"));
        }
        if waiver.emergency {
            continue;
        }
        if !limits.allows(rule) {
            return Some("the policy allows no waiver of this rule".to_owned());
        }
        if lasts > limits.max_duration && ends.is_some() {
            let longest = crate::object::duration::format_duration(limits.max_duration);
            let date = now.checked_add(limits.max_duration).map(|t| t.to_zoned(TimeZone::UTC).date());
            let date = date.map_or_else(|_| String::new(), |date| format!(", so until {date}"));
            return Some(format!("it lasts longer than {longest} from now{date}"));
        }
    }
    None
}

fn standing(ends: Timestamp, limits: &[&Limits], now: Timestamp) -> Standing {
    let warning = limits.iter().map(|l| l.expiry_warning).max().unwrap_or_default();
    let grace = limits.iter().map(|l| l.grace).min().unwrap_or_default();
    let until = |length: Duration| now.checked_add(length).unwrap_or(Timestamp::MAX);
    if now < ends {
        if until(warning) >= ends { Standing::Expiring } else { Standing::Active }
    } else if ends.checked_add(grace).is_ok_and(|end| now < end) {
        Standing::Grace
    } else {
        Standing::Expired
    }
}

/// The instant at which a waiver ends: a date means the end of that day, UTC.
///
/// # Errors
/// When the text is neither an RFC 3339 date nor an instant.
pub fn end_of(text: &str) -> Result<Timestamp, String> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(instant);
    }
    let unreadable = || {
        format!(
            "expires {text:?} is neither a date such as 2027-03-31 nor an instant such as 2027-03-31T18:00:00Z"
        )
    };
    let date: Date = text.parse().map_err(|_| unreadable())?;
    let next = date.checked_add(Span::new().days(1)).map_err(|_| unreadable())?;
    next.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp()).map_err(|_| unreadable())
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "Active",
            Self::Expiring => "Expiring",
            Self::Grace | Self::Expired => "Expired",
            Self::Invalid(_) => "Invalid",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            allow: Allow::All,
            require: vec![RequiredField::Owner, RequiredField::Reason, RequiredField::Expires],
            max_duration: crate::policy::MAX_DURATION,
            expiry_warning: crate::policy::EXPIRY_WARNING,
            grace: crate::policy::GRACE,
            authorize: false,
        }
    }

    fn standing_of(text: &str, now: &str) -> Standing {
        assess(text, "min-replicas", &[&limits()], now.parse().unwrap()).standing
    }

    const GOOD: &str = "owner: a@example.com\nexpires: 2027-01-31\nreason: a restart is acceptable\n";

    #[test]
    fn a_date_means_the_end_of_that_day_in_utc() {
        assert_eq!(standing_of(GOOD, "2026-12-01T00:00:00Z"), Standing::Active);
        assert_eq!(standing_of(GOOD, "2027-01-31T23:59:59Z"), Standing::Expiring);
        assert_eq!(standing_of(GOOD, "2027-02-01T00:00:00Z"), Standing::Grace);
        assert_eq!(standing_of(GOOD, "2027-02-08T00:00:00Z"), Standing::Expired);
    }

    #[test]
    fn what_is_no_waiver_says_why() {
        let now = "2026-12-01T00:00:00Z";
        let why = |text: &str| match standing_of(text, now) {
            Standing::Invalid(why) => why,
            other => panic!("{text}: {other:?}"),
        };
        assert!(why("true").contains("expected a YAML mapping"));
        assert!(why("{owner: a, expires: 2027-01-31}").contains("it has no reason"));
        assert!(why("{owner: a, reason: short, expires: 2027-01-31}").contains("shorter than 10"));
        assert!(why("{owner: a, reason: long enough now, expires: soon}").contains("neither a date"));
        assert!(why("{owner: a, reason: long enough now, expires: 2028-01-31}").contains("longer than 90d"));
        assert!(why("{owner: a, reason: long enough now, expires: 2027-01-31, until: x}").contains("until"));
        assert!(
            why("{owner: a, reason: long enough now, expires: 2027-01-31, emergency: true}")
                .contains("24 hours")
        );
        assert!(why("{owner: [a}").contains("no YAML"));
        assert!(why(&format!("{{reason: {}}}", "x".repeat(20_000))).contains("longer than 16384 bytes"));
    }

    #[test]
    fn json_works_and_an_emergency_needs_no_allowance() {
        let json = r#"{"owner":"a@example.com","reason":"the database fails over","expires":"2026-12-01T20:00:00Z","emergency":true}"#;
        let none = Limits { allow: Allow::None, ..limits() };
        let now = "2026-12-01T00:00:00Z".parse().unwrap();
        assert_eq!(assess(json, "min-replicas", &[&none], now).standing, Standing::Expiring);
        assert!(matches!(assess(GOOD, "min-replicas", &[&none], now).standing, Standing::Invalid(_)));
    }
}
