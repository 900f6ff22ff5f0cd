//! The audit logs of all replicas, held against what clients saw.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::apiserver::group;
use crate::faults::Fault;
use crate::requests::Due;
use crate::tally::Tally;

/// Every denial that a client saw is there, each review once, and none of what complies.
pub(crate) fn reconcile(audit: &Path, plane: &Path, tally: &Tally) -> String {
    let records = denials(audit, "jsonl", tally);
    let copies = denials(plane, "out", tally);
    let (mut once, mut lost, mut copied) = (0, 0, 0);
    for denial in tally.denied() {
        let group = group(&denial.id);
        let records = records.get(&group).map(Vec::as_slice).unwrap_or_default();
        // Where the API server's cache is behind it asks once more, in a review of its own.
        let reviews: BTreeSet<_> = records.iter().filter_map(|record| record["uid"].as_str()).collect();
        match records.len() {
            1.. if reviews.len() == records.len() => once += 1,
            0 if denial.faults & Fault::DiskFull.bit() != 0 => {
                lost += 1;
                copied += usize::from(copies.contains_key(&group));
            }
            count => tally.object(format!("a denial that a client saw is recorded {count} times: {group}")),
        }
    }
    for (group, records) in &records {
        let is_due = |record: &Value| {
            let is_unconfirmed = record.to_string().contains("could not be confirmed");
            let due = group.strip_prefix("request-").and_then(|id| tally.due(id));
            is_unconfirmed || due != Some(Due::Pass)
        };
        if let Some(record) = records.iter().find(|record| !is_due(record)) {
            tally.object(format!("recorded as denied, and complies: {record}"));
        }
    }
    for (name, text) in files(plane, "log").filter(|(name, _)| name.starts_with("plimsoll-")) {
        for line in text.lines().filter(|line| line.contains("panic")) {
            tally.object(format!("{name}: {line}"));
        }
    }
    let all: usize = records.values().map(Vec::len).sum();
    format!(
        "denials that clients saw: {once} recorded, each review once, {lost} lost to the full disk ({copied} of them on \
         standard output); {all} denials recorded in all"
    )
}

/// The denials in the files of a folder, by the group that names the request.
fn denials(folder: &Path, ending: &str, tally: &Tally) -> BTreeMap<String, Vec<Value>> {
    let mut denials = BTreeMap::<_, Vec<_>>::new();
    for (name, text) in files(folder, ending).filter(|(name, _)| name.starts_with("plimsoll-")) {
        for line in text.lines().filter(|line| !line.is_empty()) {
            // Half a line is where a replica was killed or the disk was full.
            let Ok(record) = serde_json::from_str::<Value>(line) else { continue };
            if record["decision"] != "Denied" {
                continue;
            }
            let groups = record["user"]["groups"].as_array().map(Vec::as_slice).unwrap_or_default();
            let group = groups.iter().filter_map(Value::as_str).find(|group| group.starts_with("request-"));
            match group {
                Some(group) => denials.entry(group.to_owned()).or_default().push(record.clone()),
                None if record["user"]["name"] == "chaos" => {
                    tally.object(format!("{name}: a record that says of nobody: {line}"));
                }
                // The harness itself tries out whether it is denied.
                None => {}
            }
        }
    }
    denials
}

fn files(folder: &Path, ending: &str) -> impl Iterator<Item = (String, String)> {
    let files = fs::read_dir(folder).expect("a folder").filter_map(|entry| Some(entry.ok()?.path()));
    let ending = ending.to_owned();
    files.filter(move |path| path.extension().is_some_and(|found| *found == *ending)).map(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (name, String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).into_owned())
    })
}
