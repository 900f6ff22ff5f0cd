//! Our reading of schedules against the cron library that Kubernetes uses.
//!
//! A small Go program (`cron-differential/`) with that library, at the version Kubernetes pins,
//! judges schedules made up here: validity, bit sets, gaps by brute force, next firings. All of
//! them have to agree.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests"
)]

use std::{
    collections::HashSet,
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use jiff::{Timestamp, tz::TimeZone};
use plimsoll::object::schedule::{End, Field, Schedule};
use serde_json::Value;

/// How many schedules are compared, no two the same.
const COUNT: usize = 120_000;

#[test]
fn agrees_with_the_library_of_kubernetes() {
    let started = Instant::now();
    let schedules = Generator::new(0x_5eed).schedules(COUNT);
    // Both at once: neither waits for the other.
    let (theirs, ours) = std::thread::scope(|scope| {
        let theirs = scope.spawn(|| judged_in_go(&schedules));
        let ours: Vec<Value> =
            schedules.iter().enumerate().map(|(line, schedule)| judged_here(schedule, line)).collect();
        (theirs.join().unwrap(), ours)
    });
    assert_eq!(theirs.len(), schedules.len(), "the Go program left some out");

    let (mut valid, mut every, mut never, mut short_gaps, mut firings) = (0, 0, 0, 0, 0);
    let mut different = String::new();
    let mut differences = 0;
    for ((schedule, ours), theirs) in schedules.iter().zip(&ours).zip(&theirs) {
        if ours != theirs {
            differences += 1;
            if differences <= 20 {
                let _ = writeln!(different, "{schedule:?}\n  ours   {ours}\n  theirs {theirs}");
            }
        }
        valid += usize::from(theirs["valid"] == true);
        every += usize::from(theirs["kind"] == "every");
        never += usize::from(theirs["valid"] == true && theirs["min"].is_null());
        short_gaps += usize::from(theirs["min"].as_u64().is_some_and(|gap| gap < 300));
        firings += theirs["next"].as_array().map_or(0, Vec::len);
    }
    assert!(differences == 0, "{differences} of {COUNT} differ:\n{different}");

    // The comparison is worth something only while it covers all kinds.
    assert!(COUNT >= 100_000 && valid > COUNT / 3 && COUNT - valid > COUNT / 5);
    assert!(every > 1_000 && never > 500 && short_gaps > 10_000);
    println!(
        "{COUNT} schedules agree in {:.1?}: {valid} valid ({every} @every, {never} never fire, \
         {short_gaps} with a gap under 5 minutes), {firings} firings",
        started.elapsed()
    );
}

fn judged_here(schedule: &str, line: usize) -> Value {
    let Ok(parsed) = Schedule::parse(schedule) else {
        return serde_json::json!({ "valid": false });
    };
    let gaps = parsed.gaps();
    let mut verdict = serde_json::json!({
        "valid": true,
        "kind": if parsed.spec().is_some() { "spec" } else { "every" },
    });
    if let Some(spec) = parsed.spec() {
        let bits = Field::ALL.map(|field| {
            let set = spec.set(field);
            set.bits() | u64::from(set.has_star()) << 63
        });
        verdict["bits"] = serde_json::json!(bits);
    }
    if let (Some(min), Some(max)) = (gaps.min.apart(), gaps.max.apart()) {
        verdict["min"] = min.as_secs().into();
        verdict["max"] = max.as_secs().into();
        let next = parsed.next_firings(instant(line), &TimeZone::UTC, 3);
        assert!(matches!(next.end, End::Enough | End::GivesUp), "{schedule:?}: {:?}", next.end);
        let next: Vec<i64> = next.firings.iter().map(|f| f.at.timestamp().as_second()).collect();
        if !next.is_empty() {
            verdict["next"] = next.into();
        }
    }
    verdict
}

/// The instant that belongs to a line, as the Go program knows it too: every third one is shortly
/// before clocks are moved somewhere.
fn instant(line: usize) -> Timestamp {
    const MOVES: [i64; 8] = [
        1_772_928_000,
        1_774_742_400,
        1_775_347_200,
        1_788_652_800,
        1_790_467_200,
        1_791_072_000,
        1_792_886_400,
        1_793_491_200,
    ];
    let mixed = i64::try_from(line * 7_919 * 613).unwrap();
    let second = match line % 3 {
        0 => MOVES[line / 3 % MOVES.len()] + 24 * 3_600 - mixed % (72 * 3_600),
        _ => 1_640_995_200 + mixed % (8 * 365 * 24 * 3_600),
    };
    Timestamp::from_second(second).unwrap()
}

fn judged_in_go(schedules: &[String]) -> Vec<Value> {
    let mut judge = Command::new(built())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the Go program starts");
    let mut stdin = judge.stdin.take().unwrap();
    let input: String =
        schedules.iter().map(|schedule| format!("{}\n", Value::from(schedule.as_str()))).collect();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = judge.wait_with_output().unwrap();
    assert!(output.status.success(), "the Go program failed: {}", output.status);
    writer.join().unwrap().unwrap();
    let answer = |line: &str| {
        let mut answer: Value = serde_json::from_str(line).unwrap();
        // Errors are in our own words.
        answer.as_object_mut().unwrap().remove("error");
        answer
    };
    String::from_utf8(output.stdout).unwrap().lines().map(answer).collect()
}

fn built() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cron-differential");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cron-differential");
    let build = Command::new("go")
        .args(["build", "-trimpath", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(&source)
        .output()
        .unwrap_or_else(|error| {
            panic!(
                "failed to run `go build` in {}: {error}. This test compares with the Go library \
                 that Kubernetes uses: install Go 1.26 or later (https://go.dev/dl) and try again",
                source.display()
            )
        });
    assert!(build.status.success(), "go build failed: {}", String::from_utf8_lossy(&build.stderr));
    program
}

/// Made-up schedules, always the same for the same seed.
struct Generator {
    state: u64,
}

/// Zones with rules that have not changed for years, so that older tables of zones agree; and
/// names that are none.
const ZONES: [&str; 20] = [
    "UTC",
    "Etc/GMT-8",
    "",
    "Local",
    "America/New_York",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/Havana",
    "America/Santiago",
    "Asia/Beirut",
    "America/St_Johns",
    "Antarctica/Troll",
    "Pacific/Apia",
    "Pacific/Chatham",
    "EST5EDT",
    "Nowhere/City",
    "../UTC",
    "GMT+8",
    "/UTC",
];

const ALPHABET: [char; 52] = [
    '*', '*', '/', '/', '-', '-', ',', ',', '?', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', ' ', ' ',
    ' ', '\t', '\u{a0}', '\u{3000}', '\u{200b}', '\u{85}', '\u{feff}', '@', '+', '_', '.', '#', 'L', 'W',
    'H', 'x', 'e', 'T', 'Z', '=', 'm', 'o', 'n', 'İ', 'ſ', 'K', 'é', '٣', '日', '\n', '\\',
];

impl Generator {
    fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u32) -> u32 {
        (self.next() % u64::from(limit)) as u32
    }

    fn one_in(&mut self, many: u32) -> bool {
        self.below(many) == 0
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(u32::try_from(choices.len()).unwrap()) as usize]
    }

    fn schedules(&mut self, count: usize) -> Vec<String> {
        let mut known = HashSet::new();
        let mut schedules = Vec::with_capacity(count);
        while schedules.len() < count {
            let schedule = self.schedule();
            if known.insert(schedule.clone()) {
                schedules.push(schedule);
            }
        }
        schedules
    }

    fn schedule(&mut self) -> String {
        match self.below(100) {
            0..40 => self.fields(40),
            40..57 => self.short_gap(),
            57..73 => {
                let schedule = if self.one_in(8) { self.word() } else { self.fields(60) };
                self.mutated(&schedule)
            }
            73..79 => (0..self.below(30)).map(|_| self.pick(&ALPHABET)).collect(),
            79..87 => self.word(),
            _ => {
                let prefix = self.pick(&["TZ=", "CRON_TZ=", "TZ=", "tz=", " TZ="]);
                let zone = self.pick(&ZONES);
                let blank = self.pick(&[" ", " ", " ", "  ", " \t", "", "\t"]);
                let rest = if self.one_in(6) { self.word() } else { self.fields(60) };
                format!("{prefix}{zone}{blank}{rest}")
            }
        }
    }

    /// Five fields, one value in `wrong` out of bounds or nonsense.
    fn fields(&mut self, wrong: u32) -> String {
        let fields = Field::ALL.map(|field| self.field(field, wrong));
        let blank = if self.one_in(30) { "\u{3000} " } else { " " };
        fields.join(blank)
    }

    fn field(&mut self, field: Field, wrong: u32) -> String {
        if self.one_in(2) {
            return self.pick(&["*", "*", "*", "?", "0", "1", "*/1", ","]).to_owned();
        }
        let items: Vec<String> = (0..=self.below(5) / 2).map(|_| self.item(field, wrong)).collect();
        items.join(",")
    }

    fn item(&mut self, field: Field, wrong: u32) -> String {
        let range = match self.below(10) {
            0..4 => self.value(field, wrong),
            4..7 => {
                let (low, high) = (self.number(field), self.number(field));
                let ordered = !self.one_in(wrong);
                let (low, high) = if ordered { (low.min(high), low.max(high)) } else { (low, high) };
                format!("{low}-{high}")
            }
            7 => format!("{}-{}", self.value(field, wrong), field.highest()),
            8 => self.pick(&["*", "?", "*"]).to_owned(),
            _ => self.pick(&["*-5", "*-x", "?-1-2", "*"]).to_owned(),
        };
        match self.below(4) {
            0 | 1 => range,
            2 => {
                let steps = field.highest() + 5;
                format!("{range}/{}", 1 + self.below(steps))
            }
            _ if self.one_in(wrong) => {
                let step = self.pick(&["0", "-1", "-0", "", "5/5", "9223372036854775808", "x", "+"]);
                format!("{range}/{step}")
            }
            _ => format!("{range}/{}", self.pick(&["1", "2", "+3", "07", "60", "9223372036854775807"])),
        }
    }

    fn number(&mut self, field: Field) -> u32 {
        field.lowest() + self.below(field.highest() + 1 - field.lowest())
    }

    fn value(&mut self, field: Field, wrong: u32) -> String {
        if self.one_in(wrong) {
            let beyond = (field.highest() + 1).to_string();
            let wrong =
                ["", "-1", "99", "L", "15W", "H", "1_0", "0x5", "1.5", "18446744073709551616", &beyond];
            return self.pick(&wrong).to_owned();
        }
        let number = self.number(field);
        match (field, self.below(8)) {
            (Field::Month, 0..4) => {
                self.pick(&[
                    "jan", "Feb", "MAR", "apr", "may", "jUn", "jul", "aug", "sep", "oct", "nov", "dec",
                ])
            }
            .to_owned(),
            (Field::DayOfWeek, 0..4) => {
                self.pick(&["sun", "Mon", "TUE", "wed", "thu", "fri", "FRİ", "sat"]).to_owned()
            }
            (_, 4) => format!("+{number}"),
            (_, 5) => format!("0{number}"),
            _ => number.to_string(),
        }
    }

    /// Values at the ends of fields, which are close to each other around the end.
    fn short_gap(&mut self) -> String {
        let minutes = self.ends(&[0, 1, 2, 29, 30, 57, 58, 59]);
        let hours = self.ends(&[0, 1, 11, 12, 22, 23]);
        let days = self.ends(&[1, 2, 13, 28, 29, 30, 31]);
        let months = self.ends(&[1, 2, 3, 4, 11, 12]);
        let weekdays = self.ends(&[0, 1, 5, 6]);
        format!("{minutes} {hours} {days} {months} {weekdays}")
    }

    fn ends(&mut self, values: &[u32]) -> String {
        if self.one_in(3) {
            return self.pick(&["*", "*", "*/7", "*/2"]).to_owned();
        }
        let picked: Vec<String> = (0..=self.below(4)).map(|_| self.pick(values).to_string()).collect();
        picked.join(",")
    }

    /// `@every` and the other words.
    fn word(&mut self) -> String {
        const WORDS: [&str; 12] = [
            "@yearly",
            "@annually",
            "@monthly",
            "@weekly",
            "@daily",
            "@midnight",
            "@hourly",
            "@Daily",
            "@reboot",
            "@every",
            "@daily ",
            "@every\t1h",
        ];
        if self.one_in(20) {
            return self.pick(&WORDS).to_owned();
        }
        let sign = if self.one_in(12) { self.pick(&["-", "+", " ", "--"]) } else { "" };
        let parts: String = (0..=self.below(3)).map(|_| self.duration_part()).collect();
        format!("@every {sign}{parts}")
    }

    fn duration_part(&mut self) -> String {
        let limit = self.pick(&[10, 100, 2_000, 100_000, 4_000_000_000]);
        let whole = match self.below(12) {
            0 => String::new(),
            1 => (self.next() >> self.below(8)).to_string(),
            _ => self.below(limit).to_string(),
        };
        let fraction = match self.below(5) {
            0 => format!(".{}", self.next() >> self.below(64)),
            1 if self.one_in(4) => ".".to_owned(),
            _ => String::new(),
        };
        let unit =
            self.pick(&["h", "h", "m", "m", "s", "s", "ms", "us", "µs", "μs", "ns", "ns", "d", "", "M"]);
        format!("{whole}{fraction}{unit}")
    }

    /// One or two characters put in, left out or replaced.
    fn mutated(&mut self, schedule: &str) -> String {
        let mut chars: Vec<char> = schedule.chars().collect();
        for _ in 0..=self.below(2) {
            let at = self.below(u32::try_from(chars.len()).unwrap() + 1) as usize;
            let char = self.pick(&ALPHABET);
            match self.below(3) {
                0 => chars.insert(at, char),
                1 if at < chars.len() => drop(chars.remove(at)),
                _ if at < chars.len() => chars[at] = char,
                _ => chars.push(char),
            }
        }
        chars.into_iter().collect()
    }
}

/// The whole comparison must not take long; a loop without a bound would.
#[test]
fn garbage_takes_no_time() {
    let started = Instant::now();
    for schedule in Generator::new(1).schedules(5_000) {
        let _ = Schedule::parse(&schedule).map(|schedule| schedule.gaps());
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}
