//! `plimsoll certs generate`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use super::print;
use crate::server::generate;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write ca.crt, tls.crt and tls.key. The authority's key is thrown away.
    Generate {
        /// The directory to write to.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// DNS names and IP addresses that the certificate is for.
        #[arg(long, value_name = "NAME", required = true, num_args = 1..)]
        dns: Vec<String>,
        /// Overwrite files that are there already.
        #[arg(long)]
        force: bool,
    },
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Command::Generate { out, dns, force } = &args.command;
    let generated = generate(out, dns, *force)?;
    print::plain(&format!(
        "{}\n{}\n{}\nvalid until {}\n",
        generated.ca.display(),
        generated.certificate.display(),
        generated.key.display(),
        generated.not_after
    ))?;
    Ok(ExitCode::SUCCESS)
}
