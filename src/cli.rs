//! The command line.

mod audit;
mod certs;
mod check;
mod doctor;
mod explain;
mod judged;
mod print;
mod reference;
mod scan;
mod serve;
mod test;
mod waivers;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

/// The exit code of a command that could not do its work.
const FAILED: u8 = 2;

/// The load line for Kubernetes workloads: an admission webhook that keeps what the runbooks promise.
#[derive(Debug, Parser)]
#[command(name = "plimsoll", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer admission reviews.
    Serve(serve::Args),
    /// Judge manifests as admission would. Exits with 1 if there are findings, 2 if something can't be read.
    Check(check::Args),
    /// Judge what is in a cluster. Exits with 1 if there are findings, 2 if something can't be read.
    Scan(scan::Args),
    /// Test policies. Exits with 1 if a case fails, 2 if something can't be read.
    Test(test::Args),
    /// List the waivers of a cluster or of manifests, by their end.
    Waivers(waivers::Args),
    /// Check a live installation. Exits with 1 if there is a problem, 2 if it can't be looked at.
    Doctor(doctor::Args),
    /// Explain a rule, a schedule, or list the rules.
    #[command(visible_alias = "rules")]
    Explain(explain::Args),
    /// Read audit logs: list, filter, sum up, follow, or make a report.
    Audit(audit::Args),
    /// Make certificates for development.
    Certs(certs::Args),
    /// Print the CustomResourceDefinition of InvariantPolicy.
    Crds,
    /// Print a completion script.
    Completions {
        /// The shell to complete in.
        shell: Shell,
    },
}

/// The page about the command line.
pub fn reference() -> String {
    reference::page(&mut Cli::command())
}

/// Runs the command that the arguments ask for.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing is left to be done if even this can't be printed.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(FAILED) } else { ExitCode::SUCCESS };
        }
    };
    let outcome = match cli.command {
        Command::Serve(args) => serve::run(args),
        Command::Check(args) => check::run(&args),
        Command::Scan(args) => scan::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Waivers(args) => waivers::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Certs(args) => certs::run(&args),
        Command::Crds => crds(),
        Command::Completions { shell } => completions(shell),
    };
    outcome.unwrap_or_else(|error| {
        print::note(format_args!("plimsoll: {error:#}"));
        ExitCode::from(FAILED)
    })
}

fn crds() -> anyhow::Result<ExitCode> {
    print::plain(&crate::policy::crd::yaml()?)?;
    Ok(ExitCode::SUCCESS)
}

fn completions(shell: Shell) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "plimsoll", &mut script);
    print::plain(&String::from_utf8(script)?)?;
    Ok(ExitCode::SUCCESS)
}

/// One provider for every TLS connection of the process; whoever comes second finds it there.
fn install_tls_provider() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
