//! `plimsoll check`: judges manifests as admission would, with the other manifests as the cluster.

mod fix;
mod progress;
mod source;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::Timestamp;

use self::fix::Fix;
use self::source::{Sources, pointer};
use super::print;
use crate::manifest::{self, Document, ManifestError};
use crate::offline::{self, Judgement, Manifest};
use crate::policy::load;
use crate::render;
use crate::render::counted;
use crate::render::report::{Notice, Output, Problem, Report, Resource};
use crate::verdict::{Action, Judged, State};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files, directories and globs of manifests; `-` reads standard input.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Files and directories of policies; without them the shipped ones are used.
    #[arg(long, num_args = 1.., value_name = "PATH")]
    policies: Vec<PathBuf>,
    /// The namespace of manifests that name none, as those that helm renders.
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    namespace: String,
    /// The form of the report.
    #[arg(short, long, value_parser = forms(), default_value = "text")]
    output: Output,
    /// The weakest action that fails the check.
    #[arg(long, value_enum, default_value_t = FailOn::Deny)]
    fail_on: FailOn,
    /// Write down what admission would fill in: in the files (without a value), as a diff, as patches
    /// for kustomize, or in the manifests as they are printed. The report then goes to standard error
    /// unless files are written.
    #[arg(long, value_enum, value_name = "HOW", num_args = 0..=1, require_equals = true,
        default_missing_value = "in-place")]
    fix: Option<Fix>,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
#[value(rename_all = "PascalCase")]
enum FailOn {
    Deny,
    Warn,
}

/// All but those that are about objects of a cluster.
fn forms() -> impl TypedValueParser<Value = Output> {
    let forms = Output::value_variants().iter().filter(|output| output.api().is_none());
    let values = PossibleValuesParser::new(forms.filter_map(Output::to_possible_value));
    values.try_map(|name| Output::from_str(&name, false))
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let policies = load::from_paths_or_shipped(&args.policies)?;
    let mut report = Report::new(policies.len());
    let files = manifest::files::collect(&args.paths)?;
    let mut sources = Sources::default();
    let (manifests, judgements) = progress::shown(|progress| {
        progress.stage("read", files.len());
        let parsed = offline::in_parallel(&files, |(name, text)| {
            let documents = manifest::parse(name, text);
            progress.step();
            documents
        });
        let mut manifests = Vec::new();
        for (documents, (_, text)) in parsed.into_iter().zip(&files) {
            match documents {
                Ok(documents) => {
                    let namespace = args.namespace.as_str();
                    manifests.extend(documents.into_iter().filter_map(|d| Manifest::of(d, namespace)));
                }
                Err(error) => report.errors.push(sources.problem(&error, text)),
            }
        }
        progress.stage("judged", manifests.len() * 2);
        let judgements = offline::judge(&manifests, &policies, Timestamp::now(), progress.done());
        (manifests, judgements)
    });
    report.summary.objects = manifests.len();
    for (manifest, judgement) in manifests.iter().zip(&judgements) {
        add(&mut report, &mut sources, manifest, judgement, args.fail_on);
    }
    let mut aside = false;
    if let Some(how) = args.fix {
        let fixes = fix::fixes(how, &files, &manifests, &judgements);
        for error in &fixes.errors {
            let text = files.iter().find(|(name, _)| **name == *error.file);
            report.errors.push(sources.problem(error, text.map_or("", |(_, text)| text)));
        }
        fixes.write()?;
        aside = how.prints(&files);
    }
    show(&report, args.output, aside)?;
    Ok(match (report.errors.is_empty(), report.summary.failing) {
        (false, _) => ExitCode::from(super::FAILED),
        (true, 0) => ExitCode::SUCCESS,
        (true, _) => ExitCode::from(1),
    })
}

/// Adds what was found in one manifest.
fn add(
    report: &mut Report,
    sources: &mut Sources,
    manifest: &Manifest,
    judgement: &Judgement,
    fail_on: FailOn,
) {
    let document = &manifest.document;
    let verdict = match &judgement.verdict {
        Ok(verdict) => verdict,
        Err(error) => return report.errors.push(sources.problem(error, document.text())),
    };
    report.summary.ungoverned += usize::from(verdict.policies.is_empty());
    let all = verdict.findings.iter().chain(&judgement.filled.findings);
    let mut found: Vec<_> = all
        .map(|judged| {
            let at = pointer(&document.value, &judged.finding.path);
            (judged, sources.location(document, &at))
        })
        .collect();
    // From the top to the bottom, as files are read.
    found.sort_by_key(|(_, at)| at.as_ref().map(|at| (at.line, at.column)));
    for (judged, location) in found {
        report.add(judged, fails(judged, fail_on), location);
    }
    for notice in &verdict.notices {
        report.notice(Notice {
            message: render::sanitise(notice),
            fails: fail_on == FailOn::Warn,
            resource: resource(manifest),
            location: sources.location(document, "/metadata/annotations"),
        });
    }
}

/// Prints the report; `aside` leaves standard output to manifests.
fn show(report: &Report, output: Output, aside: bool) -> anyhow::Result<()> {
    let text = report.render(output);
    match (output, aside) {
        (Output::Text, false) => print::coloured(&text)?,
        (_, false) => print::plain(&text)?,
        // It knows about terminals, as standard output does.
        (Output::Text, true) => print::written(anstream::stderr().write_all(text.as_bytes()))?,
        (_, true) => print::written(io::stderr().write_all(text.as_bytes()))?,
    }
    print::note(report.sentence());
    if report.summary.ungoverned > 0 {
        print::note(format_args!(
            "{} under no policy. A policy that selects namespaces by label needs the Namespace among the \
             manifests; --namespace is for manifests that name none.",
            counted(report.summary.ungoverned, "object is", "objects are")
        ));
    }
    Ok(())
}

fn resource(manifest: &Manifest) -> Resource {
    let name = manifest.document.value.pointer("/metadata/name").and_then(|name| name.as_str());
    Resource {
        kind: manifest.kind.to_string(),
        namespace: manifest.namespace.clone(),
        name: render::sanitise(name.unwrap_or_default()),
    }
}

fn fails(judged: &Judged, fail_on: FailOn) -> bool {
    match fail_on {
        FailOn::Deny => judged.denies(),
        FailOn::Warn => judged.state == State::New && judged.action >= Action::Warn,
    }
}
