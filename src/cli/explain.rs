//! `plimsoll explain [RULE | cron SCHEDULE]`

mod schedule;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use jiff::Timestamp;

use super::print;
use crate::manifest::nearest::hint;
use crate::render::page;
use crate::rules::{RULES, Rule, rule};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A rule's name, or `cron`; without it the rules are listed.
    topic: Option<String>,
    /// With `cron`: the schedule, in quotes.
    schedule: Vec<String>,
    /// With `cron`: the CronJob's timeZone.
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// With `cron`: the smallest gap that is allowed.
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    minimum: String,
    /// With `cron`: policies whose limits count instead, files or directories.
    #[arg(long, value_name = "PATH", num_args = 1.., conflicts_with = "minimum")]
    policies: Vec<PathBuf>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match (args.topic.as_deref(), args.schedule.as_slice()) {
        (None, _) => print::plain(&list())?,
        (Some("cron"), []) => bail!("expected a schedule, e.g. plimsoll explain cron '*/5 * * * *'"),
        (Some("cron"), words) => {
            let question = schedule::Question::of(words, args.time_zone.as_deref())?;
            let verdicts = question.verdicts(&args.minimum, &args.policies)?;
            print::plain(&format!("{}{verdicts}", question.answer(Timestamp::now())))?;
        }
        (Some(name), []) => match rule(name) {
            Some(rule) => print::plain(&page::rule(rule.meta()).to_string())?,
            None => bail!("unknown rule {name:?}; {}", hint(name, RULES.iter().map(|rule| rule.meta().name))),
        },
        (Some(name), _) => bail!("{name} takes no schedule; did you mean plimsoll explain cron?"),
    }
    Ok(ExitCode::SUCCESS)
}

fn list() -> String {
    let width = RULES.iter().map(|rule| rule.meta().name.len()).max().unwrap_or(0);
    let line = |rule: &&dyn Rule| {
        let meta = rule.meta();
        format!("{:width$}  {:4}  {}\n", meta.name, meta.action.as_str(), meta.summary)
    };
    RULES.iter().map(line).collect()
}
