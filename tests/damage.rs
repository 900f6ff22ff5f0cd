//! Damaged input: whatever comes gets an answer, and no rule can be made to panic.
//!
//! These are the fuzz targets of `fuzz/`, without a fuzzer: every seed, and every seed damaged.
//! `PLIMSOLL_DAMAGE` says how many damaged inputs each target gets (2,000); for more, take the fuzzer.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that can't go on is to fail loudly"
)]

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fuzz::damage::{Damage, mutate};
use fuzz::fixtures::Fixture;
use fuzz::house::House;
use fuzz::targets::{TARGETS, Target};
use plimsoll::audit::Record;
use plimsoll::policy::load;
use plimsoll::rules::RULES;
use serde_json::{Value, json};

/// Found by a scan alone, of what is stored.
const NEVER_AT_ADMISSION: [&str; 1] = ["inactive-workload"];

/// No input grows beyond this.
const LARGEST: usize = 1 << 16;

fn inputs() -> usize {
    std::env::var("PLIMSOLL_DAMAGE").ok().and_then(|inputs| inputs.parse().ok()).unwrap_or(2_000)
}

/// A seed after the damage with a number.
fn damaged(input: &[u8], number: usize) -> Vec<u8> {
    let mut data = input.to_vec();
    data.resize(LARGEST.max(input.len()), 0);
    let mut damage = Damage::new(number as u64);
    let mut bytes = |data: &mut [u8], size, most| damage.bytes(data, size, most);
    let size = mutate(&mut data, input.len(), LARGEST, number as u32, &mut bytes);
    data.truncate(size);
    data
}

/// Runs a target, and says with what if it fails.
fn run(target: &Target, input: &[u8]) {
    let ended = std::panic::catch_unwind(|| (target.run)(input));
    if let Err(panic) = ended {
        println!("{} failed with {}", target.name, String::from_utf8_lossy(input));
        std::panic::resume_unwind(panic);
    }
}

/// Every target but the reviews, which are below.
fn each_target_takes_damage(is_wanted: impl Fn(&str) -> bool) {
    for target in TARGETS.iter().filter(|target| is_wanted(target.name)) {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{}", target.name);
        seeds.iter().for_each(|seed| run(target, seed));
        for (number, seed) in seeds.iter().cycle().take(inputs()).enumerate() {
            run(target, &damaged(seed, number));
        }
    }
}

#[test]
fn damaged_requests_are_answered_and_damage_reaches_every_rule() {
    let fixtures = Fixture::all();
    let log = tempfile::NamedTempFile::new().unwrap();
    let house = House::open(&fixtures, log.path());
    let (mut read, mut sent) = (0_u32, 0_u32);
    for (number, fixture) in fixtures.iter().cycle().take(inputs()).enumerate() {
        read += u32::from(house.send(&damaged(fixture.review.to_string().as_bytes(), number)));
        sent += 1;
    }
    let mut reached = BTreeMap::<String, usize>::new();
    for rule in rules(log.path()) {
        *reached.entry(rule).or_default() += 1;
    }
    println!(
        "{sent} damaged requests, {read} of them could be read; requests that broke a rule: {reached:#?}"
    );
    let missed = RULES.iter().map(|rule| rule.meta().name);
    let missed: Vec<_> =
        missed.filter(|rule| !NEVER_AT_ADMISSION.contains(rule) && !reached.contains_key(*rule)).collect();
    assert!(missed.is_empty(), "no damaged request broke {missed:?}");
}

/// The rules that each recorded request broke.
fn rules(log: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap();
    let records = text.lines().map(|line| serde_json::from_str::<Record>(line).expect("a whole record"));
    let broken = records.map(|record| record.findings.into_iter().map(|finding| finding.rule).collect());
    broken.flat_map(|broken: BTreeSet<String>| broken).collect()
}

/// What grows with the square of a list takes minutes here, and a fuzzer's 10 seconds long before that.
#[test]
fn a_pod_of_very_many_containers_is_answered_as_any_other() {
    let fixtures = Fixture::all();
    let house = House::open(&fixtures, Path::new("/dev/null"));
    let is_wanted = |fixture: &&Fixture| {
        fixture.namespace.starts_with("read-only-root-filesystem")
            && fixture.review["request"]["object"]["kind"] == "Deployment"
    };
    let fixture = fixtures.iter().find(is_wanted).unwrap();
    let twins = |_| json!({});
    let named = |number| json!({"name": format!("c{number}")});
    let pods = [512, 10_000].into_iter();
    for containers in pods.flat_map(|n| [(0..n).map(twins).collect::<Value>(), (0..n).map(named).collect()]) {
        let mut review = fixture.review.clone();
        review["request"]["object"]["spec"]["template"]["spec"]["containers"] = containers;
        assert!(house.send(review.to_string().as_bytes()));
        review["request"]["operation"] = "UPDATE".into();
        review["request"]["oldObject"] = review["request"]["object"].clone();
        review["request"]["object"]["spec"]["template"]["metadata"]["labels"]["new"] = "label".into();
        assert!(house.send(review.to_string().as_bytes()));
    }
}

#[test]
fn damaged_connections_are_answered() {
    each_target_takes_damage(|name| name == "http");
}

#[test]
fn damaged_manifests_are_read_and_fixed_or_refused_with_their_place() {
    each_target_takes_damage(|name| ["fix", "manifest"].contains(&name));
}

#[test]
fn damaged_values_are_read_as_kubernetes_reads_them() {
    each_target_takes_damage(|name| !["fix", "http", "manifest", "policy", "review"].contains(&name));
}

#[test]
fn damaged_policies_are_refused_with_their_place_or_taken() {
    each_target_takes_damage(|name| name == "policy");
    let reads = |seed: &[u8], number| {
        let text = String::from_utf8_lossy(&damaged(seed, number)).into_owned();
        load::from_texts(&[("policy.yaml".to_owned(), text)]).is_ok()
    };
    let seeds = fuzz::seeds::policies();
    let taken = seeds.iter().enumerate().filter(|(number, seed)| reads(seed, *number)).count();
    assert!(taken > 0 && taken < seeds.len(), "damage that always or never shows says nothing: {taken}");
}

/// With `PLIMSOLL_SEEDS` set to a folder, writes down what libFuzzer starts from: a folder of files for
/// each target, and a dictionary.
#[test]
fn seeds_are_distinct_and_a_fuzzer_finds_them() {
    let folder = std::env::var_os("PLIMSOLL_SEEDS");
    for target in &TARGETS {
        let seeds: BTreeSet<_> = (target.seeds)().into_iter().collect();
        assert!(seeds.len() >= 10, "{}: {}", target.name, seeds.len());
        let Some(folder) = &folder else { continue };
        let folder = Path::new(folder).join(target.name);
        std::fs::create_dir_all(&folder).unwrap();
        for (number, seed) in seeds.iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), seed).unwrap();
        }
    }
    let dictionary = fuzz::seeds::dictionary();
    assert!(dictionary.contains("\"waiver.plimsoll.dev/\"\n"), "{dictionary}");
    if let Some(folder) = folder {
        std::fs::write(Path::new(&folder).join("dictionary"), dictionary).unwrap();
    }
}
