//! The pages about rules are made from the rules. `UPDATE_DOCS=1 cargo test --test docs` writes them.

#![allow(clippy::unwrap_used, reason = "a test that can't go on is to fail loudly")]

use std::collections::BTreeSet;
use std::path::Path;

use plimsoll::engine::waivers::{Listed, Source, WaiverState};
use plimsoll::manifest::{self, files};
use plimsoll::metrics::{EventOutcome, Exported, Metrics, Shed, Signal};
use plimsoll::object::Kind;
use plimsoll::policy::schema;
use plimsoll::render::report::Report;
use plimsoll::render::{page, reference};
use plimsoll::rules::RULES;
use plimsoll::verdict::{Subject, WaiverNote};

#[test]
fn the_rule_pages_are_what_the_rules_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rules");
    let metas = || RULES.iter().map(|rule| rule.meta());
    let mut pages: Vec<(String, String)> =
        metas().map(|meta| (format!("{}.md", meta.name), page::rule(meta))).collect();
    pages.push(("README.md".to_owned(), format!("# Rules\n\n{}", page::table(metas(), ""))));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        for (name, text) in &pages {
            std::fs::write(folder.join(name), text).unwrap();
        }
    }
    for (name, text) in &pages {
        let written = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(written == *text, "docs/rules/{name} is stale: run UPDATE_DOCS=1 cargo test --test docs");
    }
    let files = std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(files, pages.len(), "docs/rules holds a page of a rule that is no more");
}

#[test]
fn the_readme_lists_the_rules() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&file).unwrap();
    let start = "<!-- made from the rules: UPDATE_DOCS=1 cargo test --test docs -->\n";
    let (before, rest) = readme.split_once(start).unwrap();
    let (_, after) = rest.split_once("<!-- end -->").unwrap();
    let table = page::table(RULES.iter().map(|rule| rule.meta()), "docs/rules/");
    let fresh = format!("{before}{start}\n{table}\n<!-- end -->{after}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, &fresh).unwrap();
    } else {
        assert!(readme == fresh, "the README's rules are stale: run UPDATE_DOCS=1 cargo test --test docs");
    }
}

#[test]
fn the_schemas_are_what_the_types_say() {
    let report = schemars::schema_for!(Report);
    generated("docs/schemas/report.json", &format!("{:#}\n", report.to_value()));
    generated("docs/schemas/policy.json", &format!("{:#}\n", schema::policy()));
    generated("docs/schemas/policy-test.json", &format!("{:#}\n", schema::test()));
}

#[test]
fn the_policy_reference_is_what_the_schema_says() {
    generated("docs/policy-reference.md", &reference::policy(&schema::policy()));
}

#[test]
fn the_command_line_is_documented_as_it_is() {
    generated("docs/cli.md", &plimsoll::cli::reference());
}

#[test]
fn what_is_shipped_is_valid_by_the_schemas() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let validator = |schema| jsonschema::validator_for(&schema).unwrap();
    let (policies, tests) = (validator(schema::policy()), validator(schema::test()));
    let mut seen = [0, 0];
    for (name, text) in files::collect(&[root.join("policies")]).unwrap() {
        for document in manifest::parse(&name, &text).unwrap() {
            let is_test = document.value["kind"] == "PolicyTest";
            seen[usize::from(is_test)] += 1;
            let schema = if is_test { &tests } else { &policies };
            let errors: Vec<String> = schema
                .iter_errors(&document.value)
                .map(|error| format!("{error} at {}", error.instance_path()))
                .collect();
            assert!(errors.is_empty(), "{name}: {errors:#?}");
        }
    }
    assert!(seen[0] >= 6 && seen[1] >= 2, "{seen:?}");
    let wrong = "{apiVersion: plimsoll.dev/v1alpha1, kind: InvariantPolicy, metadata: {name: p}, spec: {rules: {min-replicas: {minimun: 2}}}}";
    assert!(!policies.is_valid(&manifest::parse("p", wrong).unwrap()[0].value), "a typing error is found");
}

#[test]
fn the_table_of_contents_leads_somewhere() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let contents = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let links: Vec<_> = contents.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(links.len() > 10);
    for link in links {
        assert!(folder.join(link).exists(), "docs/README.md: {link} is gone");
    }
}

#[test]
fn the_chart_has_the_definition_that_the_code_reads() {
    generated("charts/plimsoll/files/crds.yaml", &plimsoll::policy::crd::yaml().unwrap());
}

/// Holds a file to what it is made from, or makes it.
fn generated(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(written == text, "{name} is stale: run UPDATE_DOCS=1 cargo test --test docs");
}

/// The names of Plimsoll's metrics in a text.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("plimsoll_")).map(str::to_owned).collect()
}

/// Every metric that a server can have, by the names that Prometheus gives its series.
fn metrics_served() -> BTreeSet<String> {
    let metrics = Metrics::new("test");
    metrics.admission("CREATE", "Deployment", "Denied", false, 0.001);
    metrics.finding("min-replicas", "Deny", "New");
    metrics.cache_objects("Deployment", 1);
    metrics.cache_event("Deployment", 1);
    metrics.event(EventOutcome::Written);
    metrics.exported(Signal::Logs, Exported::Sent, 1);
    metrics.shed(Shed::Deadline);
    metrics.webhooks("ValidatingWebhookConfiguration", 1);
    metrics.waivers(&[Listed {
        subject: Subject { kind: Kind::Deployment, namespace: "shop".to_owned(), name: "web".to_owned() },
        rule: "min-replicas".to_owned(),
        source: Source::Annotation,
        state: WaiverState::Active,
        note: WaiverNote { emergency: true, ..WaiverNote::default() },
        containers: Vec::new(),
        ends: Some("2033-05-18T03:33:20Z".parse().unwrap()),
        remark: None,
    }]);
    let text = metrics.encode();
    let series = text.lines().filter(|line| !line.starts_with('#'));
    series.filter_map(|line| line.split(['{', ' ']).next()).map(str::to_owned).collect()
}

#[test]
fn the_chart_asks_only_for_metrics_that_there_are() {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/plimsoll/files");
    let mut served = metrics_served();
    // Set while connections are open, which is a server's to do.
    served.insert("plimsoll_connections".to_owned());
    for name in ["alerts.yaml", "dashboard.json"] {
        let asked = metrics_in(&std::fs::read_to_string(files.join(name)).unwrap());
        assert!(asked.len() > 5, "{name}: {asked:?}");
        let unknown: Vec<_> = asked.difference(&served).collect();
        assert!(unknown.is_empty(), "{name} asks for {unknown:?}, which no server has");
    }
}

#[test]
fn every_metric_is_documented() {
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operating.md")).unwrap();
    let documented = metrics_in(&page);
    let base = |name: &String| {
        ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned()
    };
    let missing: Vec<_> =
        metrics_served().iter().map(base).filter(|name| !documented.contains(name)).collect();
    assert!(missing.is_empty(), "docs/operating.md lacks {missing:?}");
}
