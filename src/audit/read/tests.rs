use std::fs::{self, OpenOptions};
use std::io::{Cursor, Write as _};
use std::path::Path;

use super::*;

fn line(uid: &str, time: &str) -> String {
    serde_json::json!({
        "schema": "plimsoll.dev/audit/v1", "time": time, "uid": uid, "decision": "Denied",
        "operation": "CREATE", "dryRun": false, "user": {"name": "jane"}, "durationMicros": 1, "instance": "i",
        "resource": {"group": "apps", "version": "v1", "kind": "Deployment", "name": "web"}, "later": "kept",
    })
    .to_string()
}

fn reader(name: &str, text: impl Into<Vec<u8>>) -> Reader {
    Reader::new(name, Cursor::new(text.into()))
}

/// The uids in order, and what was said of the rest.
fn all(mut merged: Merged) -> (Vec<String>, Vec<String>) {
    let (mut uids, mut problems) = (Vec::new(), Vec::new());
    let mut report = |problem| {
        problems.push(match problem {
            Problem::Broken(broken) => broken.to_string(),
            Problem::Unreadable(source, error) => format!("{source}: {error}"),
        });
    };
    while let Some(entry) = merged.next_record(&mut report) {
        uids.push(entry.record.uid);
    }
    (uids, problems)
}

#[test]
fn lines_that_are_no_records_are_passed_over_with_their_place() {
    let whole = line("a", "2026-11-21T10:00:00Z");
    let text = [
        whole.clone(),
        String::new(),
        whole.split_at(100).0.to_owned(),
        r#"{"timestamp":"2026-11-21T10:00:00Z","level":"INFO","fields":{"message":"Plimsoll starts."}}"#
            .to_owned(),
        whole.replace("audit/v1", "audit/v2").replace("uid", "id"),
        "hello".to_owned(),
        line("b", "2026-11-21T10:00:01Z"),
        whole.split_at(50).0.to_owned(),
    ];
    let mut merged = Merged::new([reader("log", text.join("\n"))]);
    let mut problems = Vec::new();
    let mut uids = Vec::new();
    while let Some(entry) = merged.next_record(&mut |problem| problems.push(problem)) {
        assert!(entry.text.contains("later"), "keys of later versions come through");
        uids.push(entry.record.uid);
    }
    assert_eq!((uids, merged.broken, merged.others), (vec!["a".to_owned(), "b".to_owned()], 4, 1));
    let problems: Vec<String> = problems
        .iter()
        .map(|p| if let Problem::Broken(b) = p { b.to_string() } else { String::new() })
        .collect();
    insta::assert_snapshot!(problems.join("\n"), @r#"
    log:3: expected an audit record, found a line that breaks off after 100 bytes
    log:5: expected a record of schema plimsoll.dev/audit/v1 and its keys: unknown variant `plimsoll.dev/audit/v2`, expected `plimsoll.dev/audit/v1` at line 1 column 214
    log:6: expected an audit record, found no JSON object: expected value at line 1 column 1
    log:8: expected an audit record, found a line that breaks off after 50 bytes
    "#);
}

#[test]
fn a_line_without_an_end_takes_no_memory() {
    let mut text = vec![b'x'; 3 * LONGEST];
    text.push(b'\n');
    text.extend(line("a", "2026-11-21T10:00:00Z").bytes());
    let mut reader = reader("log", text);
    let Some(Line::Broken(broken)) = reader.next_line().unwrap() else { panic!("the line is too long") };
    assert_eq!(broken.to_string(), "log:1: expected at most 1048576 bytes, found 3145728");
    assert!(reader.begun.capacity() <= 2 * LONGEST);
    assert!(reader.next_line().unwrap().is_none(), "it has no end yet");
    assert!(
        matches!(reader.last_line(), Some(Line::Record(_))),
        "a line feed is all that the last line lacks"
    );
}

#[test]
fn several_logs_come_in_the_order_of_time() {
    let log = |name: &str, seconds: &[u8]| {
        let line =
            |second: &u8| line(&format!("{name}{second}"), &format!("2026-11-21T10:00:{second:02}Z")) + "\n";
        reader(name, seconds.iter().map(line).collect::<String>())
    };
    let (uids, problems) =
        all(Merged::new([log("a", &[4, 5, 9]), log("b", &[1, 2, 3]), log("c", &[]), log("d", &[6])]));
    assert_eq!(uids, ["b1", "b2", "b3", "a4", "a5", "d6", "a9"]);
    assert!(problems.is_empty());
}

#[test]
fn one_log_is_read_no_further_than_it_is_asked() {
    /// Standard input that somebody still writes to: another read would hang.
    struct Live(Cursor<Vec<u8>>);

    impl io::Read for Live {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => panic!("read too far"),
                read => Ok(read),
            }
        }
    }

    let lines = format!("{}\n{}\n", line("a", "2026-11-21T10:00:00Z"), line("b", "2026-11-21T10:00:00Z"));
    let live = Live(Cursor::new(lines.into_bytes()));
    let mut merged = Merged::new([Reader::new("-", io::BufReader::new(live))]);
    let mut next = || merged.next_record(&mut |_| {}).unwrap().record.uid;
    assert_eq!((next(), next()), ("a".to_owned(), "b".to_owned()));
}

fn append(path: &Path, text: &str) {
    OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

fn next(follow: &mut Follow) -> Option<String> {
    match follow.next_line().unwrap()? {
        Line::Record(entry) => Some(entry.record.uid),
        Line::Other => Some("other".to_owned()),
        Line::Broken(broken) => Some(format!("broken line {}", broken.line)),
    }
}

#[test]
fn a_log_is_followed_through_any_number_of_rotations() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let record = |uid: &str| line(uid, "2026-11-21T10:00:00Z") + "\n";
    let rotate = || crate::audit::rotate::shift(&path, 5).unwrap();
    append(&path, &record("a"));
    let mut follow = Follow::open(&path).unwrap();
    assert_eq!((next(&mut follow), next(&mut follow)), (Some("a".to_owned()), None));

    let late = record("b");
    append(&path, late.split_at(40).0);
    assert_eq!(next(&mut follow), None, "a line that hasn't ended waits");
    append(&path, late.split_at(40).1);
    rotate();
    assert_eq!(next(&mut follow).as_deref(), Some("b"), "the new file isn't there yet");
    assert_eq!(next(&mut follow), None);
    for uid in ["c", "d", "e"] {
        append(&path, &record(uid));
        rotate();
    }
    append(&path, &(record("f") + "{\"half"));
    let got: Vec<_> = std::iter::from_fn(|| next(&mut follow)).collect();
    assert_eq!(got, ["c", "d", "e", "f"]);

    rotate();
    append(&path, &record("g"));
    assert_eq!(next(&mut follow).as_deref(), Some("broken line 2"), "nobody will end it any more");
    assert_eq!(next(&mut follow).as_deref(), Some("g"));

    fs::remove_file(&path).unwrap();
    fs::remove_file(folder.path().join("log.1")).unwrap();
    assert_eq!(next(&mut follow), None);
    append(&path, &record("h"));
    assert_eq!(next(&mut follow).as_deref(), Some("h"), "with the old file gone the newest is all there is");
}
