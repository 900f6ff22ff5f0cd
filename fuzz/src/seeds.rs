//! What each target starts from: recordings of a real API server, the rules' fixtures, and what is in them.

use std::collections::BTreeSet;
use std::path::Path;

use plimsoll::manifest;
use serde_json::{Value, json};

use super::fixtures::{Fixture, files, relocate, root};

/// Reviews: every recording, the same in a namespace that a shipped policy governs, and every fixture.
pub fn reviews() -> Vec<Vec<u8>> {
    let recordings = recordings();
    let governed = recordings.clone().into_iter().map(|mut review| {
        relocate(&mut review, "imp");
        review
    });
    let fixtures = Fixture::all().into_iter().map(|fixture| fixture.review);
    texts(recordings.iter().cloned().chain(governed).chain(fixtures))
}

/// Reviews as a client sends them, and what isn't one.
pub fn requests() -> Vec<Vec<u8>> {
    let post = |path: &str, headers: &str, body: &[u8]| {
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\n{headers}content-length: {length}\r\n\r\n");
        [head.as_bytes(), body].concat()
    };
    const JSON: &str = "content-type: application/json\r\n";
    let paths = ["/validate?timeout=3s", "/mutate?timeout=1m0.5s&dryRun=All"];
    let reviews = reviews().into_iter().step_by(7).enumerate();
    let mut all: Vec<_> = reviews.map(|(index, review)| post(paths[index % 2], JSON, &review)).collect();
    all.push([post(paths[0], JSON, b"{}"), post(paths[1], "connection: close\r\n", b"[]")].concat());
    all.push(post("/admin", "content-encoding: gzip\r\n", b""));
    all.push(post("/validate", "expect: 100-continue\r\ncontent-type: text/plain\r\n", b"{}"));
    all.push(b"GET /validate HTTP/1.1\r\nhost: a\r\n\r\nHEAD /mutate HTTP/1.0\r\n\r\n".to_vec());
    all.push(b"POST /validate HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-type: application/json\r\n\r\n2;x=y\r\n{}\r\n0\r\na: b\r\n\r\n".to_vec());
    all.push(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec());
    all
}

/// The shipped policies, and those of the fixtures.
pub fn policies() -> Vec<Vec<u8>> {
    let shipped = files("policies", "yaml").into_iter().map(read);
    shipped.chain(texts(Fixture::all().into_iter().map(|fixture| fixture.policy))).collect()
}

/// Manifests in every layout that there is in the house.
pub fn manifests() -> Vec<Vec<u8>> {
    let folders = ["examples/systems", "src/rules", "tests/check", "tests/fix", "tests/rules"];
    let mut all: Vec<_> = folders.iter().flat_map(|folder| files(folder, "yaml")).map(read).collect();
    all.extend(texts(
        Fixture::all().into_iter().map(|mut fixture| fixture.review["request"]["object"].take()),
    ));
    all
}

/// Values of waivers' annotations.
pub fn waivers() -> Vec<Vec<u8>> {
    let is_waiver = |key: &str| key.starts_with(plimsoll::waiver::PREFIX);
    let mut all = strings(found(is_waiver));
    all.push(b"{owner: a@example.com, reason: the database fails over, expires: 2026-12-02T10:00:00Z, emergency: true, containers: [app], ticket: A-1}".to_vec());
    all
}

/// Schedules, those that a real API server has judged above all.
pub fn schedules() -> Vec<Vec<u8>> {
    let cases: Value = serde_json::from_slice(&read(root().join("tests/data/cron-cases.json"))).unwrap();
    let cases = cases["cases"].as_array().unwrap().iter().map(|case| case["schedule"].clone());
    strings(cases.chain(found(|key| key == "schedule")))
}

/// `[selector, labels]`.
pub fn selectors() -> Vec<Vec<u8>> {
    let labels = json!({"app": "web", "tier": "a", "environment": "production"});
    let all = found(|key| key == "selector" || key.ends_with("Selector"));
    let mut all: BTreeSet<_> = all.map(|selector| json!([selector, labels]).to_string()).collect();
    let expressions = json!([
        {"key": "tier", "operator": "In", "values": ["a", "b"]},
        {"key": "canary", "operator": "DoesNotExist"},
        {"key": "app", "operator": "NotIn", "values": ["other"]},
        {"key": "app", "operator": "Exists"},
    ]);
    all.insert(json!([{"matchLabels": {"app": "web"}, "matchExpressions": expressions}, labels]).to_string());
    all.into_iter().map(String::into_bytes).collect()
}

/// Quantities.
pub fn quantities() -> Vec<Vec<u8>> {
    let maps = found(|key| key == "requests" || key == "limits");
    let all = maps.filter_map(|map| Some(map.as_object()?.values().cloned().collect::<Vec<_>>())).flatten();
    let more = ["0", "0.0Mi", "+.5e-3", "1E", "0Ei", "-1n", "00.00e+10"].map(Value::from);
    distinct(all.chain(found(|key| key == "sizeLimit")).chain(more))
}

/// `[count, total]`.
pub fn counts() -> Vec<Vec<u8>> {
    let all = found(|key| key.starts_with("max") || key.starts_with("min"));
    distinct(all.filter(|value| !value.is_object()).map(|value| json!([value, 7])))
}

/// Durations of policies.
pub fn durations() -> Vec<Vec<u8>> {
    let all = ["maxDuration", "expiryWarning", "grace", "minimum"];
    let mut all = strings(found(|key| all.contains(&key)));
    all.extend(["1h30m", "90d", "1.5h", "250ms", "0s", "1d2h3m4s5ms"].map(|text| text.as_bytes().to_vec()));
    all
}

/// A dictionary for libFuzzer: every field's name, every short text, and what annotations begin with.
pub fn dictionary() -> String {
    let mut words = BTreeSet::new();
    documents().iter().for_each(|document| self::words(document, &mut words));
    words.extend(
        [plimsoll::waiver::PREFIX, "plimsoll.dev/singleton", "autoscaling.keda.sh/"].map(str::to_owned),
    );
    let is_word = |word: &&String| {
        (2..40).contains(&word.len()) && word.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
    };
    words.iter().filter(is_word).map(|word| format!("{word:?}\n")).collect()
}

fn words(value: &Value, all: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            all.insert(key.clone());
            words(value, all);
        }),
        Value::Array(list) => list.iter().for_each(|value| words(value, all)),
        Value::String(text) => drop(all.insert(text.clone())),
        _ => {}
    }
}

fn read(path: impl AsRef<Path>) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

fn recordings() -> Vec<Value> {
    files("tests/recordings", "json")
        .iter()
        .map(|path| serde_json::from_slice(&read(path)).unwrap())
        .collect()
}

/// Whatever there is to look into.
fn documents() -> Vec<Value> {
    let mut all = recordings();
    for fixture in Fixture::all() {
        all.extend([fixture.review, fixture.policy]);
        all.extend(fixture.neighbours);
    }
    for path in files("examples/systems", "yaml").into_iter().chain(files("policies", "yaml")) {
        let text = String::from_utf8(read(&path)).unwrap();
        all.extend(manifest::parse("seed", &text).unwrap().into_iter().map(|document| document.value));
    }
    all
}

/// The values of all fields with such a name.
fn found(is_wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = Value> {
    fn walk(value: &Value, is_wanted: &dyn Fn(&str) -> bool, all: &mut Vec<Value>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    if is_wanted(key) {
                        all.push(value.clone());
                    }
                    walk(value, is_wanted, all);
                }
            }
            Value::Array(list) => list.iter().for_each(|value| walk(value, is_wanted, all)),
            _ => {}
        }
    }
    let mut all = Vec::new();
    documents().iter().for_each(|document| walk(document, &is_wanted, &mut all));
    all.into_iter()
}

fn texts(values: impl Iterator<Item = Value>) -> Vec<Vec<u8>> {
    values.map(|value| value.to_string().into_bytes()).collect()
}

fn distinct(values: impl Iterator<Item = Value>) -> Vec<Vec<u8>> {
    let all: BTreeSet<_> = values.map(|value| value.to_string()).collect();
    all.into_iter().map(String::into_bytes).collect()
}

fn strings(values: impl Iterator<Item = Value>) -> Vec<Vec<u8>> {
    let all: BTreeSet<_> = values.filter_map(|value| value.as_str().map(str::to_owned)).collect();
    all.into_iter().map(String::into_bytes).collect()
}
