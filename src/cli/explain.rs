//! `plimsoll explain [RULE | cron SCHEDULE]`

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::manifest::nearest::hint;
use crate::object::duration::{format_duration, parse_duration};
use crate::object::schedule::{Schedule, zone};
use crate::render::page;
use crate::rules::{RULES, rule};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A rule's name, or `cron`; without it the rules are listed.
    topic: Option<String>,
    /// With `cron`: the schedule, quoted.
    schedule: Option<String>,
    /// With `cron`: the time zone of the firings.
    #[arg(long, default_value = "UTC")]
    time_zone: String,
    /// With `cron`: the smallest gap that a policy allows.
    #[arg(long, default_value = "5m")]
    minimum: String,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match (args.topic.as_deref(), args.schedule.as_deref()) {
        (None, _) => list(),
        (Some("cron"), Some(schedule)) => explain_schedule(schedule, &args.time_zone, &args.minimum)?,
        (Some("cron"), None) => bail!("expected a schedule, e.g. plimsoll explain cron '*/5 * * * *'"),
        (Some(name), None) => match rule(name) {
            Some(rule) => print!("{}", page::rule(rule.meta())),
            None => bail!("unknown rule {name:?}; {}", hint(name, RULES.iter().map(|rule| rule.meta().name))),
        },
        (Some(name), Some(_)) => bail!("{name} takes no schedule; did you mean plimsoll explain cron?"),
    }
    Ok(ExitCode::SUCCESS)
}

fn list() {
    let width = RULES.iter().map(|rule| rule.meta().name.len()).max().unwrap_or(0);
    for rule in RULES {
        let meta = rule.meta();
        println!("{:width$}  {:4}  {}", meta.name, meta.action.as_str(), meta.summary);
    }
}

fn explain_schedule(text: &str, time_zone: &str, minimum: &str) -> anyhow::Result<()> {
    let zone: TimeZone = zone(time_zone)?;
    let minimum = parse_duration(minimum).context("--minimum")?;
    let schedule = Schedule::validate_create(text, Some(time_zone))?;
    println!("{text}: {}", schedule.describe());
    for field in schedule.field_words() {
        println!("  {:8} {:12} {}", format!("{:?}", field.field).to_lowercase(), field.text, field.words);
    }
    let gap = schedule.min_gap();
    let Some(apart) = gap.apart() else {
        println!("It never fires.");
        return Ok(());
    };
    let runs = schedule.runs_per_day();
    println!("Smallest gap: {} ({})", format_duration(apart), gap.explain());
    println!("Runs: {} on a day on which it runs, {:.2} a day on average", runs.most, runs.average);
    println!("Next firings in {time_zone}:");
    let firings = schedule.next_firings(Timestamp::now(), &zone, 10);
    for firing in &firings.firings {
        let note = firing.note().map_or_else(String::new, |note| format!("  ({note})"));
        println!("  {}{note}", firing.at.strftime("%a %F %H:%M %Z"));
    }
    if apart >= minimum {
        println!("cron-interval with minimum {}: passes", format_duration(minimum));
    } else {
        let nearest = schedule.nearest_passing(minimum);
        let nearest = nearest.map_or_else(String::new, |nearest| format!("; {nearest:?} would pass"));
        println!("cron-interval with minimum {}: fails{nearest}", format_duration(minimum));
    }
    Ok(())
}
