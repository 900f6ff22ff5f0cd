//! Audit records and spans for a collector, by OTLP over HTTP (Cargo feature `otlp`).
//!
//! Where to is said by OpenTelemetry's own environment variables. Requests only ever put things into
//! bounded queues, one for each signal; what doesn't fit, or isn't taken, is lost here and counted.
//! The audit log is what counts.

mod client;
mod queue;

use std::env;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, LogExporter, SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{LogExporter as _, SdkLogger, SdkLoggerProvider};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanExporter as _};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::Subscriber;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

use self::client::Client;
use self::queue::{Drain, queue};
use crate::audit::{Decision, Record, Tap};
use crate::metrics::{Metrics, Signal};

/// What OpenTelemetry calls whoever makes logs and spans, and the service unless it is told otherwise.
const NAME: &str = env!("CARGO_PKG_NAME");
/// The environment variables of which any one asks for an export.
const ENDPOINTS: [&str; 3] = [
    opentelemetry_otlp::OTEL_EXPORTER_OTLP_ENDPOINT,
    opentelemetry_otlp::OTEL_EXPORTER_OTLP_LOGS_ENDPOINT,
    opentelemetry_otlp::OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
];
/// Turns everything off.
const DISABLED: &str = "OTEL_SDK_DISABLED";
/// Names the service.
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";

/// Why there is no way to a collector.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// An environment variable says what can't be.
    #[error("failed to set up the export by OTLP: {0}")]
    Exporter(#[from] ExporterBuildError),
    /// The authorities that a collector's certificate could be of can't be read.
    #[error("failed to read the certificates to trust a collector by: {0}")]
    Roots(#[from] std::io::Error),
}

/// The way to a collector.
pub struct Otlp {
    logs: SdkLoggerProvider,
    spans: SdkTracerProvider,
    drains: (Drain<queue::Log, LogExporter>, Drain<queue::Span, SpanExporter>),
    closing: watch::Sender<bool>,
}

/// The running export.
pub struct Export {
    tasks: JoinSet<()>,
    closing: watch::Sender<bool>,
}

impl Otlp {
    /// The way that the environment asks for, if it does.
    ///
    /// # Errors
    /// When what it says can't be.
    pub fn from_environment(metrics: &Arc<Metrics>, instance: &str) -> Result<Option<Self>, OtlpError> {
        let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_disabled = env::var_os(DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if is_disabled || !ENDPOINTS.iter().any(|name| is_set(name)) {
            return Ok(None);
        }
        let client = Arc::new(Client::new()?);
        let mut logs = LogExporter::builder().with_http().with_shared_http_client(client.clone()).build()?;
        let mut spans = SpanExporter::builder().with_http().with_shared_http_client(client).build()?;
        let resource = resource(instance, is_set(SERVICE_NAME));
        logs.set_resource(&resource);
        spans.set_resource(&resource);
        let (closing, closes) = watch::channel(false);
        let (log_queue, log_drain) = queue(logs, Signal::Logs, metrics, closes.clone());
        let (span_queue, span_drain) = queue(spans, Signal::Traces, metrics, closes);
        Ok(Some(Self {
            logs: SdkLoggerProvider::builder()
                .with_resource(resource.clone())
                .with_log_processor(log_queue)
                .build(),
            spans: SdkTracerProvider::builder()
                .with_resource(resource)
                .with_span_processor(span_queue)
                .build(),
            drains: (log_drain, span_drain),
            closing,
        }))
    }

    /// What hears of spans.
    pub fn layer<S: Subscriber + for<'s> LookupSpan<'s>>(&self) -> impl Layer<S> + use<S> {
        let layer = tracing_opentelemetry::layer().with_tracer(self.spans.tracer(NAME));
        let layer = layer.with_location(false).with_threads(false).with_tracked_inactivity(false);
        layer.with_filter(Targets::new().with_target(NAME, LevelFilter::INFO))
    }

    /// What hears of audit records.
    pub fn records(&self) -> Arc<dyn Tap> {
        Arc::new(Records(self.logs.logger(NAME)))
    }

    /// Begins to send; within a runtime.
    pub fn start(self) -> Export {
        let (logs, spans) = self.drains;
        let mut tasks = JoinSet::new();
        tasks.spawn(logs.run());
        tasks.spawn(spans.run());
        Export { tasks, closing: self.closing }
    }
}

impl Export {
    /// Sends what waits, as far as that takes no longer than this.
    pub async fn close(mut self, within: Duration) {
        // Nobody to be told is as good.
        let _ = self.closing.send(true);
        let _ = timeout(within, async { while self.tasks.join_next().await.is_some() {} }).await;
    }
}

/// Whether the environment asks for what this build lacks: it has everything.
pub fn is_missing() -> bool {
    false
}

/// Adds to the span of the request what became clear later.
pub fn describe(attributes: [(&'static str, &str); 5]) {
    let span = tracing::Span::current();
    for (key, value) in attributes {
        span.set_attribute(key, value.to_owned());
    }
}

fn resource(instance: &str, is_named: bool) -> Resource {
    let resource = Resource::builder().with_attributes([
        opentelemetry::KeyValue::new("service.instance.id", instance.to_owned()),
        opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
    ]);
    if is_named { resource.build() } else { resource.with_service_name(NAME).build() }
}

/// Makes logs of audit records: the body is the very line of the audit log.
#[derive(Debug)]
struct Records(SdkLogger);

impl Tap for Records {
    fn hear(&self, record: &Record, line: &str) {
        let mut log = self.0.create_log_record();
        log.set_event_name("plimsoll.decision");
        log.set_timestamp(SystemTime::from(record.time));
        let (severity, decision) = match record.decision {
            Decision::Allowed => (Severity::Info, "Allowed"),
            Decision::Denied => (Severity::Warn, "Denied"),
        };
        log.set_severity_number(severity);
        log.set_severity_text(severity.name());
        log.add_attribute("plimsoll.uid", record.uid.clone());
        log.add_attribute("plimsoll.decision", decision);
        if let Some(namespace) = &record.resource.namespace {
            log.add_attribute("k8s.namespace.name", namespace.clone());
        }
        let rules = record.findings.iter().map(|finding| AnyValue::from(finding.rule.clone()));
        log.add_attribute("plimsoll.rules", AnyValue::ListAny(Box::new(rules.collect())));
        log.set_body(line.to_owned().into());
        self.0.emit(log);
    }
}
