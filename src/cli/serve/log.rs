//! What `serve` says of itself, and who else hears of it.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;

use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt};

use crate::audit;
use crate::metrics::Metrics;
use crate::otlp::{self, Otlp};

/// What is logged unless RUST_LOG says otherwise. kube reports every connection that fails as an error;
/// the watches report the same, once.
const LOGGED: &str = "info,kube_client=off,kube_runtime=error";

/// Logs go to standard error: text for people, JSON otherwise. Standard output is the audit log's.
/// Returns the way to a collector, if there is to be one.
pub(super) fn start(metrics: &Arc<Metrics>) -> anyhow::Result<Option<Otlp>> {
    let otlp = Otlp::from_environment(metrics, &audit::default_instance())?;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOGGED));
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = match io::stderr().is_terminal() {
        true => lines.with_target(false).boxed(),
        false => lines.json().boxed(),
    };
    let registry = tracing_subscriber::registry().with(lines.with_filter(filter));
    registry.with(otlp.as_ref().map(Otlp::layer)).init();
    if otlp::is_missing() {
        tracing::warn!("This build exports nothing by OTLP: it lacks the feature otlp.");
    }
    Ok(otlp)
}
