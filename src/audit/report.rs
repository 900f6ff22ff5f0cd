//! What a report on a log rests on, gathered in one pass and in bounded memory.

use std::collections::{BTreeMap, HashMap, VecDeque};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::filter::Filter;
use super::record::{Record, Waiver};
use super::summary::{By, Outcome, Sums, object};
use crate::verdict::State;
use crate::waiver::end_of;

/// How many denials are kept in full, the newest.
const NEWEST: usize = 50;
/// How many waivers are told apart.
const MOST_WAIVERS: usize = 5_000;
/// How many days, and how many rules of a day, are told apart.
const MOST_DAYS: usize = 10_000;
const MOST_RULES: usize = 64;
/// The rule of a denial that names none, and of what comes beyond that many.
const OTHER_RULES: &str = "(others)";
/// How long before its end a waiver is said to end soon.
const SOON_DAYS: i64 = 14;

/// Denials by rule, day by day.
pub type Days = BTreeMap<Date, BTreeMap<String, u64>>;

/// What was gathered.
#[derive(Clone, Debug)]
pub struct Report {
    /// Sums by rule, namespace, user and object.
    pub rules: Sums,
    /// By namespace.
    pub namespaces: Sums,
    /// By user.
    pub users: Sums,
    /// By object.
    pub objects: Sums,
    /// Requests refused in earnest, by day and rule; one that several rules refuse counts for each.
    pub days: Days,
    /// Requests refused in earnest, by day.
    pub refused: BTreeMap<Date, u64>,
    /// The newest denials, the newest last.
    pub newest: VecDeque<Record>,
    /// Waivers that let requests in, by rule and object.
    waivers: HashMap<(String, String), WaiverUse>,
    /// Waivers beyond the number that is told apart.
    pub more_waivers: u64,
    /// When the first record was made, and when the last.
    pub period: Option<(Timestamp, Timestamp)>,
}

/// A waiver and its use.
#[derive(Clone, Debug)]
pub struct WaiverUse {
    /// The rule that it waives.
    pub rule: String,
    /// The object that carries it, or that a policy grants it to.
    pub object: String,
    /// The waiver, as it was last used.
    pub waiver: Waiver,
    /// How many requests it let in.
    pub uses: u64,
    /// When it was last used.
    pub last: Timestamp,
}

/// How a waiver stands.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Standing {
    /// It has ended.
    Ended,
    /// It was declared an emergency.
    Emergency,
    /// It ends within two weeks.
    EndsSoon,
    /// It holds for longer.
    Active,
    /// It names no end that can be read.
    Endless,
}

impl WaiverUse {
    /// When it ends, if it says so.
    #[must_use]
    pub fn ends(&self) -> Option<Timestamp> {
        end_of(self.waiver.expires.as_deref()?).ok()
    }

    /// How it stands at `now`.
    #[must_use]
    pub fn standing(&self, now: Timestamp) -> Standing {
        let seconds = |ends: Timestamp| ends.as_second() - now.as_second();
        match self.ends() {
            None => Standing::Endless,
            Some(ends) if ends <= now => Standing::Ended,
            Some(_) if self.waiver.emergency => Standing::Emergency,
            Some(ends) if seconds(ends) <= SOON_DAYS * 86_400 => Standing::EndsSoon,
            Some(_) => Standing::Active,
        }
    }
}

impl Default for Report {
    fn default() -> Self {
        Self {
            rules: Sums::new(By::Rule),
            namespaces: Sums::new(By::Namespace),
            users: Sums::new(By::User),
            objects: Sums::new(By::Object),
            days: Days::new(),
            refused: BTreeMap::new(),
            newest: VecDeque::new(),
            waivers: HashMap::new(),
            more_waivers: 0,
            period: None,
        }
    }
}

impl Report {
    /// Takes in a record and, of its findings, those that `filter` asks for.
    pub fn add(&mut self, record: &Record, filter: &Filter) {
        for sums in [&mut self.rules, &mut self.namespaces, &mut self.users, &mut self.objects] {
            sums.add(record, filter);
        }
        let time = record.time;
        let (first, last) = self.period.unwrap_or((time, time));
        self.period = Some((first.min(time), last.max(time)));
        if record.dry_run {
            return;
        }
        if Outcome::of(record) == Outcome::Denied {
            self.add_denial(record, filter);
        }
        for finding in record.findings.iter().filter(|finding| filter.wants_finding(finding)) {
            if let (State::Waived, Some(waiver)) = (finding.state, &finding.waiver) {
                self.add_waiver(&finding.rule, record, waiver);
            }
        }
    }

    fn add_denial(&mut self, record: &Record, filter: &Filter) {
        if self.newest.len() == NEWEST {
            self.newest.pop_front();
        }
        self.newest.push_back(record.clone());
        let date = record.time.to_zoned(TimeZone::UTC).date();
        if self.days.len() >= MOST_DAYS && !self.days.contains_key(&date) {
            return;
        }
        *self.refused.entry(date).or_default() += 1;
        let refusing =
            record.findings.iter().filter(|finding| finding.refuses() && filter.wants_finding(finding));
        let mut rules: Vec<&str> = refusing.map(|finding| finding.rule.as_str()).collect();
        rules.sort_unstable();
        rules.dedup();
        if rules.is_empty() {
            rules.push(OTHER_RULES);
        }
        let counts = self.days.entry(date).or_default();
        for rule in rules {
            let rule =
                if counts.len() >= MOST_RULES && !counts.contains_key(rule) { OTHER_RULES } else { rule };
            *counts.entry(rule.to_owned()).or_default() += 1;
        }
    }

    fn add_waiver(&mut self, rule: &str, record: &Record, waiver: &Waiver) {
        let key = (rule.to_owned(), object(record));
        if self.waivers.len() >= MOST_WAIVERS && !self.waivers.contains_key(&key) {
            self.more_waivers += 1;
            return;
        }
        let (rule, object) = key.clone();
        let first = || WaiverUse { rule, object, waiver: waiver.clone(), uses: 0, last: record.time };
        let used = self.waivers.entry(key).or_insert_with(first);
        used.uses += 1;
        if record.time >= used.last {
            (used.last, used.waiver) = (record.time, waiver.clone());
        }
    }

    /// The waivers as they stand at `now`: those that hold, the one that ends first before the others,
    /// and then those that have ended, the latest first.
    #[must_use]
    pub fn waivers(&self, now: Timestamp) -> Vec<(Standing, &WaiverUse)> {
        let mut waivers: Vec<_> = self.waivers.values().map(|used| (used.standing(now), used)).collect();
        waivers.sort_by_key(|(standing, used)| {
            let has_ended = *standing == Standing::Ended;
            let seconds = used.ends().map_or(i64::MAX, Timestamp::as_second);
            (has_ended, if has_ended { -seconds } else { seconds }, &used.object, &used.rule)
        });
        waivers
    }

    /// How many waivers let something in.
    #[must_use]
    pub fn waiver_count(&self) -> usize {
        self.waivers.len()
    }
}
