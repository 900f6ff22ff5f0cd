//! JUnit XML, in the shape that Jenkins and GitLab read: a suite for each file (or namespace), a case
//! for each finding.

use std::collections::BTreeMap;
use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::{Location, Report, Resource};
use crate::render::sanitise;

/// One case.
struct Case {
    name: String,
    class: String,
    outcome: Outcome,
}

enum Outcome {
    Passed(String),
    Skipped(String),
    Failed { kind: String, message: String, details: String },
    Broken(String),
}

pub(super) fn render(report: &Report) -> String {
    let mut suites: BTreeMap<String, Vec<Case>> = BTreeMap::new();
    let mut add = |location: Option<&Location>, resource: Option<&Resource>, case: Case| {
        let suite = match (location, resource) {
            (Some(at), _) => at.file.clone(),
            (None, Some(resource)) => resource.namespace.clone(),
            (None, None) => String::new(),
        };
        suites.entry(suite).or_default().push(case);
    };
    for entry in &report.findings {
        let message = entry.message.clone();
        let details = entry.location.as_ref().map_or_else(String::new, place);
        let outcome = match (entry.fails, entry.state) {
            (true, _) => Outcome::Failed { kind: entry.rule.clone(), message, details },
            (false, "Waived") => Outcome::Skipped(message),
            (false, _) => Outcome::Passed(message),
        };
        let name = format!("{}: {}", entry.rule, entry.path);
        let case = Case { name, class: title(&entry.resource), outcome };
        add(entry.location.as_ref(), Some(&entry.resource), case);
    }
    for notice in &report.notices {
        let message = notice.message.clone();
        let outcome = if notice.fails {
            Outcome::Failed { kind: "notice".to_owned(), message, details: String::new() }
        } else {
            Outcome::Passed(message)
        };
        let case = Case { name: "notice".to_owned(), class: title(&notice.resource), outcome };
        add(notice.location.as_ref(), Some(&notice.resource), case);
    }
    for problem in &report.errors {
        let name = "can be read".to_owned();
        let case =
            Case { name, class: "manifest".to_owned(), outcome: Outcome::Broken(problem.message.clone()) };
        add(problem.location.as_ref(), None, case);
    }
    // A report without a case is an error to some readers.
    let summary = Case {
        name: report.sentence(),
        class: "plimsoll".to_owned(),
        outcome: Outcome::Passed(String::new()),
    };
    suites.insert("plimsoll".to_owned(), vec![summary]);
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    // Writing into memory can't fail.
    let _ = write(&mut writer, &suites);
    let mut text = String::from_utf8(writer.into_inner()).unwrap_or_default();
    text.push('\n');
    text
}

fn write(writer: &mut Writer<Vec<u8>>, suites: &BTreeMap<String, Vec<Case>>) -> io::Result<()> {
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let all = || suites.values().flatten();
    let totals = totals(&all());
    let mut root = writer.create_element("testsuites").with_attribute(("name", "plimsoll"));
    for (name, value) in &totals {
        root = root.with_attribute((*name, value.as_str()));
    }
    root.write_inner_content(|writer| {
        suites.iter().try_for_each(|(name, cases)| suite(writer, name, cases))
    })?;
    Ok(())
}

fn suite(writer: &mut Writer<Vec<u8>>, name: &str, cases: &[Case]) -> io::Result<()> {
    let mut element = writer.create_element("testsuite").with_attribute(("name", &*xml(name)));
    for (name, value) in &totals(&cases.iter()) {
        element = element.with_attribute((*name, value.as_str()));
    }
    element.write_inner_content(|writer| {
        for case in cases {
            let element = writer
                .create_element("testcase")
                .with_attribute(("name", &*xml(&case.name)))
                .with_attribute(("classname", &*xml(&case.class)));
            match &case.outcome {
                Outcome::Passed(said) if said.is_empty() => element.write_empty()?,
                outcome => element.write_inner_content(|writer| self::outcome(writer, outcome))?,
            };
        }
        Ok(())
    })?;
    Ok(())
}

fn outcome(writer: &mut Writer<Vec<u8>>, outcome: &Outcome) -> io::Result<()> {
    match outcome {
        Outcome::Passed(said) => {
            writer.create_element("system-out").write_text_content(BytesText::new(&xml(said)))?
        }
        Outcome::Skipped(why) => {
            writer.create_element("skipped").with_attribute(("message", &*xml(why))).write_empty()?
        }
        Outcome::Failed { kind, message, details } => writer
            .create_element("failure")
            .with_attribute(("type", &*xml(kind)))
            .with_attribute(("message", &*xml(message)))
            .write_text_content(BytesText::new(&xml(details)))?,
        Outcome::Broken(why) => writer
            .create_element("error")
            .with_attribute(("type", "unreadable"))
            .with_attribute(("message", &*xml(why)))
            .write_empty()?,
    };
    Ok(())
}

fn totals<'c>(cases: &(impl Iterator<Item = &'c Case> + Clone)) -> [(&'static str, String); 4] {
    let count = |is: fn(&Outcome) -> bool| cases.clone().filter(|case| is(&case.outcome)).count().to_string();
    [
        ("tests", count(|_| true)),
        ("failures", count(|outcome| matches!(outcome, Outcome::Failed { .. }))),
        ("errors", count(|outcome| matches!(outcome, Outcome::Broken(_)))),
        ("skipped", count(|outcome| matches!(outcome, Outcome::Skipped(_)))),
    ]
}

fn title(resource: &Resource) -> String {
    let Resource { kind, namespace, name } = resource;
    if namespace.is_empty() { format!("{kind} {name}") } else { format!("{kind} {namespace}/{name}") }
}

fn place(at: &Location) -> String {
    format!("{}:{}:{}\n{}", at.file, at.line, at.column, at.source)
}

/// Text without what XML 1.0 can't hold even when escaped.
fn xml(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(sanitise).collect();
    lines.join("\n").replace(['\u{fffe}', '\u{ffff}'], " ")
}
