//! The command line as a page of the documentation.

use std::fmt::Write as _;

use clap::{Arg, Command};

/// Every command with its usage and its options, in Markdown.
pub(super) fn page(program: &mut Command) -> String {
    program.build();
    let mut page =
        "# The command line\n\n<!-- made from the program: UPDATE_DOCS=1 cargo test --test docs -->\n\n\
        `plimsoll COMMAND --help` says the same.\n\n"
            .to_owned();
    for command in commands(program) {
        let _ = writeln!(page, "* [`plimsoll {}`](#plimsoll-{0})", command.get_name());
    }
    for command in commands(program) {
        section(&mut page, command, &format!("plimsoll {}", command.get_name()), 2);
    }
    page
}

fn commands(of: &Command) -> impl Iterator<Item = &Command> {
    of.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help")
}

fn section(page: &mut String, command: &Command, name: &str, level: usize) {
    let about =
        command.get_long_about().or_else(|| command.get_about()).map(ToString::to_string).unwrap_or_default();
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim();
    let _ = write!(page, "\n{} {name}\n\n{}\n\n```\n{usage}\n```\n", "#".repeat(level), full_stop(&about));
    let args: Vec<&Arg> = command.get_arguments().filter(|arg| !is_help(arg)).collect();
    if !args.is_empty() {
        page.push_str("\n| | |\n|---|---|\n");
    }
    for arg in args {
        let _ = writeln!(page, "| {} | {} |", spelling(arg), meaning(arg));
    }
    for inner in commands(command) {
        section(page, inner, &format!("{name} {}", inner.get_name()), level + 1);
    }
}

fn is_help(arg: &Arg) -> bool {
    arg.is_hide_set() || matches!(arg.get_id().as_str(), "help" | "version")
}

/// How it is written: `-n`, `--namespace NAMESPACE`.
fn spelling(arg: &Arg) -> String {
    let values = arg.get_value_names().unwrap_or_default().iter().map(ToString::to_string);
    let takes = arg.get_num_args().is_some_and(|number| number.takes_values());
    let many = if arg.get_num_args().is_some_and(|number| number.max_values() > 1) { "…" } else { "" };
    let mut value = if takes { values.collect::<Vec<_>>().join(" ") + many } else { String::new() };
    let Some(long) = arg.get_long() else { return format!("`{value}`") };
    if arg.get_num_args().is_some_and(|number| takes && number.min_values() == 0) {
        value = format!("[={value}]");
    } else if takes {
        value.insert(0, ' ');
    }
    let short = arg.get_short().map(|short| format!("`-{short}`, ")).unwrap_or_default();
    format!("{short}`--{long}{value}`")
}

/// What it is for, what it may be, and what it is without it.
fn meaning(arg: &Arg) -> String {
    let help = arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut text = full_stop(&help.replace('\n', " ")).replace('|', "\\|");
    let takes = arg.get_num_args().is_some_and(|number| number.takes_values());
    let possible = arg.get_possible_values();
    if takes && !possible.is_empty() {
        text.push_str(" One of ");
        let named = possible.iter().filter(|value| !value.is_hide_set()).map(|value| {
            let help = value.get_help().map(|help| format!(" ({})", help.to_string().trim_end_matches('.')));
            format!("`{}`{}", value.get_name(), help.unwrap_or_default())
        });
        text.push_str(&named.collect::<Vec<_>>().join(", "));
        text.push('.');
    }
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if takes && !defaults.is_empty() {
        let _ = write!(text, " Default: `{}`.", defaults.join(" "));
    }
    text
}

fn full_stop(text: &str) -> String {
    match text.chars().last() {
        Some(last) if last.is_alphanumeric() || matches!(last, ')' | '`') => format!("{text}."),
        _ => text.to_owned(),
    }
}
