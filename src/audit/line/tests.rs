use jiff::Timestamp;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::audit::{Action, Authorization, Change, Decision, Level, Schema, State};

fn record() -> Record {
    Record {
        schema: Schema::V1,
        time: "2026-11-21T10:15:30.25Z".parse::<Timestamp>().unwrap(),
        uid: "705ab4f5-6393-11e8-b7cc-42010a800002".to_owned(),
        decision: Decision::Denied,
        operation: "UPDATE".to_owned(),
        dry_run: false,
        user: User { name: "jane@example.com".to_owned(), groups: vec!["devs".to_owned()] },
        resource: Resource {
            group: "apps".to_owned(),
            version: "v1".to_owned(),
            kind: "Deployment".to_owned(),
            subresource: Some("scale".to_owned()),
            namespace: Some("imp".to_owned()),
            name: "consumer".to_owned(),
        },
        workload: None,
        policies: vec!["production".to_owned()],
        findings: vec![finding(Action::Deny, State::New)],
        waivers: Vec::new(),
        patch: Vec::new(),
        duration_micros: 182,
        instance: "plimsoll-0".to_owned(),
        truncated: Truncated::default(),
        exempt: false,
    }
}

fn finding(action: Action, state: State) -> Finding {
    Finding {
        rule: "min-replicas".to_owned(),
        action,
        state,
        path: "spec.replicas".to_owned(),
        observed: Some("1".to_owned()),
        required: Some("2".to_owned()),
        message: "min-replicas: has 1 replica".to_owned(),
        waiver: None,
    }
}

fn read(line: &[u8]) -> Record {
    assert!(line.len() <= MAX_LINE, "{} bytes", line.len());
    let text = std::str::from_utf8(line).unwrap();
    let body = text.strip_suffix('\n').unwrap();
    assert!(body.chars().all(|character| character != '\n' && harmless(character) == character));
    serde_json::from_str(body).unwrap()
}

#[test]
fn keys_are_those_of_the_schema() {
    let mut record = record();
    let line = record.to_line();
    let expected = json!({
        "schema": "plimsoll.dev/audit/v1",
        "time": "2026-11-21T10:15:30.25Z",
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "decision": "Denied",
        "operation": "UPDATE",
        "dryRun": false,
        "user": {"name": "jane@example.com", "groups": ["devs"]},
        "resource": {
            "group": "apps", "version": "v1", "kind": "Deployment", "subresource": "scale",
            "namespace": "imp", "name": "consumer",
        },
        "policies": ["production"],
        "findings": [{
            "rule": "min-replicas", "action": "Deny", "state": "New", "path": "spec.replicas",
            "observed": "1", "required": "2", "message": "min-replicas: has 1 replica",
        }],
        "durationMicros": 182,
        "instance": "plimsoll-0",
    });
    assert_eq!(serde_json::from_slice::<Value>(&line).unwrap(), expected);

    let workload =
        Workload { kind: "Deployment".to_owned(), namespace: "imp".to_owned(), name: "consumer".to_owned() };
    record.workload = Some(workload);
    record.findings[0].waiver = Some(Waiver {
        owner: "platform@example.com".to_owned(),
        reason: "internal tool".to_owned(),
        expires: Some("2027-03-31".to_owned()),
        ticket: Some("OPS-1".to_owned()),
        emergency: true,
    });
    let value = Some(json!(2));
    record.patch = vec![PatchOperation { op: "add".to_owned(), path: "/spec/replicas".to_owned(), value }];
    let line = serde_json::from_slice::<Value>(&record.to_line()).unwrap();
    assert_eq!(line["workload"], json!({"kind": "Deployment", "namespace": "imp", "name": "consumer"}));
    assert_eq!(
        line["findings"][0]["waiver"],
        json!({
            "owner": "platform@example.com", "reason": "internal tool", "expires": "2027-03-31",
            "ticket": "OPS-1", "emergency": true,
        })
    );
    assert_eq!(line["patch"], json!([{"op": "add", "path": "/spec/replicas", "value": 2}]));
}

#[test]
fn a_reader_ignores_new_keys_and_refuses_other_schemas() {
    let mut line = serde_json::to_value(record()).unwrap();
    line["new"] = json!(1);
    assert_eq!(serde_json::from_value::<Record>(line.clone()).unwrap(), record());
    line["schema"] = json!("plimsoll.dev/audit/v2");
    assert!(serde_json::from_value::<Record>(line).is_err());
}

#[test]
fn a_cut_text_ends_in_an_ellipsis_and_is_counted() {
    let mut record = record();
    record.resource.name = "x".repeat(1000);
    record.findings[0].message = "\"".repeat(10_000);
    let cut = read(&record.to_line());
    assert_eq!(cut.resource.name, format!("{}…", "x".repeat(NAME - 3)));
    assert_eq!(cut.findings[0].message, format!("{}…", "\"".repeat(MESSAGE / 2 - 2)));
    assert_eq!(cut.truncated, Truncated { texts: 2, ..Truncated::default() });
}

#[test]
fn a_text_as_long_as_its_limit_is_whole() {
    for text in ["x".repeat(NAME), "é".repeat(NAME / 2), "\n".repeat(NAME / 2)] {
        let mut record = record();
        record.uid.clone_from(&text);
        let line = read(&record.to_line());
        assert_eq!((line.uid, line.truncated), (text, Truncated::default()));
    }
}

#[test]
fn what_could_deceive_a_reader_is_replaced() {
    let mut record = record();
    record.user.name = "a\u{202e}b\u{2028}c\u{9b}31md\u{1b}[0me\u{7f}f\0g\r\n\th\u{2066}".to_owned();
    record.patch = vec![PatchOperation {
        op: "add".to_owned(),
        path: "/a".to_owned(),
        value: Some(json!({"k\u{202e}": ["\u{85}"]})),
    }];
    let line = read(&record.to_line());
    let expected = "a\u{fffd}b\u{fffd}c\u{fffd}31md\u{fffd}[0me\u{fffd}f\u{fffd}g\u{fffd}\n\th\u{fffd}";
    assert_eq!(line.user.name, expected);
    assert_eq!(line.patch[0].value, Some(json!({"k\u{fffd}": ["\u{fffd}"]})));
}

#[test]
fn findings_that_refuse_are_the_last_to_go() {
    let mut record = record();
    let mut warning = finding(Action::Warn, State::New);
    warning.message = "w".repeat(2000);
    record.findings = vec![warning; 100];
    record.findings.push(finding(Action::Deny, State::Waived));
    record.findings.push(finding(Action::Deny, State::New));
    let line = read(&record.to_line());
    assert!(line.findings[0].refuses());
    assert!(line.findings.len() > 10);
    assert_eq!(line.truncated.findings as usize, 102 - line.findings.len());

    // While all fit, they keep their order.
    record.findings.drain(..90);
    assert_eq!(read(&record.to_line()), record);
}

#[test]
fn long_lists_are_bounded_and_counted() {
    let mut record = record();
    record.user.groups = (0..5000).map(|number| format!("group-{number}")).collect();
    record.policies = vec!["p".repeat(300); 100];
    record.patch = vec![
        PatchOperation {
            op: "add".to_owned(),
            path: "/a".to_owned(),
            value: Some(json!("v".repeat(500)))
        };
        500
    ];
    record.patch[1].value = Some(json!({"a": "v".repeat(5000)}));
    let line = read(&record.to_line());
    assert_eq!(line.user.groups, record.user.groups[..line.user.groups.len()]);
    assert!(line.user.groups.len() > 500);
    assert_eq!(line.truncated.groups as usize, 5000 - line.user.groups.len());
    assert_eq!(line.truncated.policies as usize, 100 - line.policies.len());
    assert_eq!(line.truncated.patch as usize, 500 - line.patch.len());
    assert!(line.patch.len() > 50);
    assert_eq!(line.patch[1].value, Some(json!("…")));
    assert_eq!(line.truncated.texts as usize, line.policies.len() + 1);
}

#[test]
fn levels_choose_by_decision_and_content() {
    let denied = record();
    let warned = Record { decision: Decision::Allowed, ..record() };
    let clean = Record { findings: Vec::new(), ..warned.clone() };
    let patch = vec![PatchOperation { op: "add".to_owned(), path: "/a".to_owned(), value: None }];
    let filled = Record { patch, ..clean.clone() };
    let waiving = Record { waivers: vec![change(&Waiver::default())], ..clean.clone() };
    let wants =
        |level: Level| [&denied, &warned, &filled, &waiving, &clean].map(|record| level.wants(record));
    assert_eq!(wants(Level::Denials), [true, false, false, false, false]);
    assert_eq!(wants(Level::Findings), [true, true, true, true, false]);
    assert_eq!(wants(Level::All), [true; 5]);
    for level in [Level::Denials, Level::Findings, Level::All] {
        assert_eq!(level.as_str().parse::<Level>().unwrap(), level);
    }
    assert!("some".parse::<Level>().is_err());
}

fn change(waiver: &Waiver) -> WaiverChange {
    WaiverChange {
        annotation: format!("waiver.plimsoll.dev/{}", waiver.owner),
        change: Change::Added,
        waiver: waiver.clone(),
        authorization: Some(Authorization::Allowed),
        authorization_reason: Some(waiver.reason.clone()),
    }
}

/// Any characters, the hostile ones often, up to lengths far beyond every limit.
fn text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        4 => any::<char>(),
        2 => prop::sample::select(vec!['"', '\\', '\n', '\0', '\u{1b}', '\u{7f}', '\u{9b}', '\u{2028}', '\u{202e}']),
        2 => prop::char::range('a', 'z'),
    ];
    let piece = vec(character, 0..12).prop_map(String::from_iter);
    (piece, prop_oneof![16 => 1..4usize, 3 => 20..200usize, 1 => 1_000..2_000usize])
        .prop_map(|(piece, times)| piece.repeat(times))
}

fn findings() -> impl Strategy<Value = Vec<Finding>> {
    let waiver = (text(), text(), option::of(text()), option::of(text()), any::<bool>()).prop_map(
        |(owner, reason, expires, ticket, emergency)| Waiver { owner, reason, expires, ticket, emergency },
    );
    let action = prop::sample::select(vec![Action::Deny, Action::Warn, Action::Audit]);
    let state = prop::sample::select(vec![State::New, State::Existing, State::Waived, State::Fixed]);
    let texts = (text(), text(), option::of(text()), option::of(text()), text());
    let finding = (texts, action, state, option::of(waiver)).prop_map(
        |((rule, path, observed, required, message), action, state, waiver)| Finding {
            rule,
            action,
            state,
            path,
            observed,
            required,
            message,
            waiver,
        },
    );
    (vec(finding, 0..6), prop_oneof![4 => Just(1usize), 1 => 2..60usize])
        .prop_map(|(findings, times)| vec![findings; times].concat())
}

fn records() -> impl Strategy<Value = Record> {
    let list = || (vec(text(), 0..5), prop_oneof![3 => Just(1usize), 1 => 2..300usize]);
    let value = prop_oneof![
        text().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (text(), text()).prop_map(|(name, value)| json!({name: [value]})),
    ];
    let operation =
        (text(), text(), option::of(value)).prop_map(|(op, path, value)| PatchOperation { op, path, value });
    let names = (text(), text(), text(), option::of(text()), option::of(text()), text());
    let others = (text(), text(), text(), text(), any::<bool>(), option::of((text(), text(), text())));
    (names, others, list(), list(), findings(), vec(operation, 0..20)).prop_map(
        |(names, others, (groups, group_times), (policies, policy_times), findings, patch)| {
            let (group, version, kind, subresource, namespace, name) = names;
            let (uid, operation, user, instance, dry_run, workload) = others;
            Record {
                uid,
                operation,
                dry_run,
                user: User { name: user, groups: vec![groups; group_times].concat() },
                resource: Resource { group, version, kind, subresource, namespace, name },
                workload: workload.map(|(kind, namespace, name)| Workload { kind, namespace, name }),
                policies: vec![policies; policy_times].concat(),
                waivers: findings.iter().filter_map(|finding| finding.waiver.as_ref()).map(change).collect(),
                findings,
                patch,
                instance,
                ..record()
            }
        },
    )
}

/// What became of a text: the whole of it, or its beginning and an ellipsis.
fn came_through(before: &str, after: &str) -> bool {
    let before: String = before.chars().map(harmless).collect();
    before == after || after.strip_suffix('…').is_some_and(|beginning| before.starts_with(beginning))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_record_is_one_bounded_line(record in records()) {
        let line = record.to_line();
        let after = read(&line);

        // Nothing is cut twice, so a line that is read and written again stays as it is.
        prop_assert_eq!(&after.to_line(), &line);

        let texts = |record: &Record| {
            let resource = &record.resource;
            [&record.uid, &record.operation, &record.user.name, &record.instance, &resource.group, &resource.name]
                .map(String::clone)
        };
        for (before, after) in texts(&record).iter().zip(texts(&after)) {
            prop_assert!(came_through(before, &after), "{before:?} became {after:?}");
        }
        let left = after.truncated;
        prop_assert_eq!(after.user.groups.len() + left.groups as usize, record.user.groups.len());
        prop_assert_eq!(after.policies.len() + left.policies as usize, record.policies.len());
        prop_assert_eq!(after.findings.len() + left.findings as usize, record.findings.len());
        prop_assert_eq!(after.patch.len() + left.patch as usize, record.patch.len());
        prop_assert_eq!(after.waivers.len() + left.waivers as usize, record.waivers.len());
        prop_assert_eq!(
            after.findings.iter().any(Finding::refuses),
            record.findings.iter().any(Finding::refuses)
        );
        if left.findings == 0 {
            for (before, after) in record.findings.iter().zip(&after.findings) {
                prop_assert!(came_through(&before.message, &after.message));
                prop_assert_eq!((before.action, before.state), (after.action, after.state));
            }
        }
    }

    #[test]
    fn an_ordinary_record_comes_back_as_it_was(
        name in "[a-z0-9.-]{1,253}", message in "[ -~é…]{0,600}", groups in vec("[a-z:]{1,40}", 0..20)
    ) {
        let mut record = record();
        record.resource.name = name;
        record.findings[0].message = message;
        record.user.groups = groups;
        prop_assert_eq!(read(&record.to_line()), record);
    }
}
