//! `plimsoll test`: holds policies to what their authors expect of them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;

use super::print;
use crate::manifest;
use crate::policy::{Policy, load};
use crate::render::counted;
use crate::suite::Suite;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files, directories and globs of PolicyTest documents; `-` reads standard input.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Only cases whose name contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut policies: HashMap<Vec<PathBuf>, Vec<Policy>> = HashMap::new();
    let (mut passed, mut failed) = (0, 0);
    for (name, text) in manifest::files::collect(&args.paths)? {
        for document in manifest::parse(&name, &text)? {
            let Some(suite) = Suite::read(&document)? else { continue };
            let folder = Path::new(&name).parent().map_or_else(PathBuf::new, Path::to_owned);
            let paths: Vec<PathBuf> = suite.policies.iter().map(|path| folder.join(path)).collect();
            if !policies.contains_key(&paths) {
                policies.insert(paths.clone(), load::from_paths_or_shipped(&paths)?);
            }
            let policies = policies.get(&paths).map(Vec::as_slice).unwrap_or_default();
            let outcomes = suite.run(&document, policies)?;
            let wanted = |name: &str| args.only.as_ref().is_none_or(|part| name.contains(part));
            let (mut ok, mut wrong) = (0, 0);
            for outcome in outcomes.iter().filter(|outcome| wanted(&outcome.name)) {
                let Some((place, lines)) = &outcome.failure else {
                    ok += 1;
                    continue;
                };
                wrong += 1;
                print::plain(&format!("FAIL {place}\n"))?;
                for line in lines {
                    print::plain(&format!("  {line}\n"))?;
                }
            }
            let failures = if wrong > 0 { format!(", {wrong} failed") } else { String::new() };
            print::plain(&format!("{name}: {ok} passed{failures}\n"))?;
            passed += ok;
            failed += wrong;
        }
    }
    match (passed + failed, &args.only) {
        (0, Some(only)) => bail!("no case's name contains {only:?}"),
        (0, None) => bail!("found no PolicyTest"),
        _ => {}
    }
    print::plain(&format!("{}, {failed} failed\n", counted(passed, "case passed", "cases passed")))?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
