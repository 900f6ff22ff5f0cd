//! The pages about rules are made from the rules. `UPDATE_DOCS=1 cargo test --test docs` writes them.

#![allow(clippy::unwrap_used, reason = "a test that can't go on is to fail loudly")]

use std::path::Path;

use plimsoll::render::page;
use plimsoll::render::report::Report;
use plimsoll::rules::RULES;

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
