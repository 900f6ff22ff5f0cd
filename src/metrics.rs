//! Every metric, typed.
//!
//! A label is a field of a struct here and its values come from a fixed set, so what a scrape can
//! grow to is visible in `labels`. Nothing is labelled by the name of an object or a user, and only
//! waivers by their namespace.

mod labels;

use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::engine::waivers::{Listed, WaiverState};
use crate::rules::rule;

pub use self::labels::{Confirmation, EventOutcome, Exported, LiveRead, Shed, Signal};

use self::labels::{
    AdmissionLabels, EventLabels, ExportLabels, FindingLabels, KINDS, KindLabels, ListenerLabels, OPERATIONS,
    OutcomeLabels, ShedLabels, WaivedLabels, WaiverLabels, known,
};

/// The media type of what [`Metrics::encode`] returns.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A review takes well under a millisecond, and one that waits for live reads up to half a second.
const DURATION_BUCKETS: [f64; 16] =
    [50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// A read of one object takes milliseconds, and none is waited for longer than half a second.
const READ_BUCKETS: [f64; 8] = [1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 0.1, 0.25, 0.5];

/// The metrics of one process. Share it in an `Arc`; all its methods are cheap but
/// [`Metrics::encode`].
#[derive(Debug)]
pub struct Metrics {
    /// Locked while a scrape reads and while a set of gauges is replaced, so that no scrape sees
    /// half a set.
    registry: Mutex<Registry>,
    admissions: Family<AdmissionLabels, Counter>,
    durations: Histogram,
    findings: Family<FindingLabels, Counter>,
    confirmations: Family<OutcomeLabels, Counter>,
    live_reads: Family<OutcomeLabels, Counter>,
    live_read_durations: Histogram,
    certificate_expiry: Gauge,
    certificate_reload_errors: Counter,
    webhooks: Family<KindLabels, Gauge>,
    policies_reloaded: Gauge,
    cache_objects: Family<KindLabels, Gauge>,
    cache_last_event: Family<KindLabels, Gauge>,
    waivers: Family<WaiverLabels, Gauge>,
    waiver_expiry: Family<WaivedLabels, Gauge>,
    emergency_waivers: Family<WaivedLabels, Gauge>,
    audit_write_errors: Counter,
    events: Family<EventLabels, Counter>,
    exported: Family<ExportLabels, Counter>,
    handshake_failures: Counter,
    shed: Family<ShedLabels, Counter>,
    panics: Counter,
    connections: Family<ListenerLabels, Gauge>,
}

impl Metrics {
    /// All metrics at their start. `version` is the program's, for `plimsoll_build_info`.
    pub fn new(version: &'static str) -> Self {
        let metrics = Self {
            registry: Mutex::new(Registry::with_prefix("plimsoll")),
            admissions: Family::default(),
            durations: Histogram::new(DURATION_BUCKETS),
            findings: Family::default(),
            confirmations: Family::default(),
            live_reads: Family::default(),
            live_read_durations: Histogram::new(READ_BUCKETS),
            certificate_expiry: Gauge::default(),
            certificate_reload_errors: Counter::default(),
            webhooks: Family::default(),
            policies_reloaded: Gauge::default(),
            cache_objects: Family::default(),
            cache_last_event: Family::default(),
            waivers: Family::default(),
            waiver_expiry: Family::default(),
            emergency_waivers: Family::default(),
            audit_write_errors: Counter::default(),
            events: Family::default(),
            exported: Family::default(),
            handshake_failures: Counter::default(),
            shed: Family::default(),
            panics: Counter::default(),
            connections: Family::default(),
        };
        metrics.register(version);
        for outcome in EventOutcome::ALL {
            // Zeros from the start: a rate needs something to rise from.
            drop(metrics.events.get_or_create(&EventLabels { outcome: outcome.as_str() }));
        }
        for outcome in LiveRead::ALL {
            drop(metrics.live_reads.get_or_create(&OutcomeLabels { outcome: outcome.as_str() }));
        }
        metrics
    }

    /// The encoder adds `_total` to counters, `_info` to infos and the unit, which is why the names
    /// lack them.
    fn register(&self, version: &'static str) {
        let r = &mut *self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = || Unit::Seconds;
        r.register("build", "The running version", Info::new([("version", version)]));
        r.register("admission_requests", "Requests judged", self.admissions.clone());
        r.register_with_unit(
            "admission_duration",
            "From the request's last byte to its answer",
            seconds(),
            self.durations.clone(),
        );
        r.register("findings", "Findings by rule, by what policy does and by state", self.findings.clone());
        r.register(
            "confirmations",
            "Verdicts that the cluster was asked about, by what came of it",
            self.confirmations.clone(),
        );
        r.register("live_reads", "Reads to confirm a verdict, by how they went", self.live_reads.clone());
        r.register_with_unit(
            "live_read_duration",
            "From the start of a live read to its answer",
            seconds(),
            self.live_read_durations.clone(),
        );
        r.register_with_unit(
            "certificate_expiry_timestamp",
            "When the certificate that is served ends",
            seconds(),
            self.certificate_expiry.clone(),
        );
        r.register(
            "webhooks",
            "Webhooks in the configurations by which the API server calls",
            self.webhooks.clone(),
        );
        r.register(
            "certificate_reload_errors",
            "Attempts to take up a new certificate that failed; the old one is still served",
            self.certificate_reload_errors.clone(),
        );
        r.register(
            "policy_last_reload_successful",
            "1 if the policies in force are the newest, 0 if newer ones were refused",
            self.policies_reloaded.clone(),
        );
        r.register("cache_objects", "Objects in the cache", self.cache_objects.clone());
        r.register_with_unit(
            "cache_last_event_timestamp",
            "When the cluster was last heard of",
            seconds(),
            self.cache_last_event.clone(),
        );
        r.register("waivers", "Waivers by how they stand", self.waivers.clone());
        r.register_with_unit(
            "waiver_expiry_timestamp",
            "When the next waiver of the rule ends in the namespace",
            seconds(),
            self.waiver_expiry.clone(),
        );
        let emergencies = self.emergency_waivers.clone();
        r.register("emergency_waivers", "Emergency waivers that count", emergencies);
        let audit = self.audit_write_errors.clone();
        r.register("audit_write_errors", "Audit records that could not be written", audit);
        r.register("events", "Kubernetes Events by what became of them", self.events.clone());
        r.register("exported", "Audit records and spans for a collector", self.exported.clone());
        r.register("handshake_failures", "TLS handshakes that failed", self.handshake_failures.clone());
        r.register("requests_shed", "Requests and connections turned away unjudged", self.shed.clone());
        r.register("panics", "Requests answered with an error because of a bug", self.panics.clone());
        r.register("connections", "Connections open", self.connections.clone());
    }

    /// One judged request. `operation` and `kind` may come from outside; unknown ones count as
    /// `other`.
    pub fn admission(
        &self,
        operation: &str,
        kind: &str,
        decision: &'static str,
        dry_run: bool,
        seconds: f64,
    ) {
        let labels = AdmissionLabels {
            operation: known(&OPERATIONS, operation),
            kind: known(&KINDS, kind),
            decision,
            dry_run,
        };
        self.admissions.get_or_create(&labels).inc();
        self.durations.observe(seconds);
    }

    /// One finding of a judged request.
    pub fn finding(&self, rule: &'static str, action: &'static str, state: &'static str) {
        self.findings.get_or_create(&FindingLabels { rule, action, state }).inc();
    }

    /// The cluster was asked about a verdict.
    pub fn confirmation(&self, outcome: Confirmation) {
        self.confirmations.get_or_create(&OutcomeLabels { outcome: outcome.as_str() }).inc();
    }

    /// A live read, or a request that waited for another's. `seconds` is how long the API server took,
    /// if it was asked and answered.
    pub fn live_read(&self, outcome: LiveRead, seconds: Option<f64>) {
        self.live_reads.get_or_create(&OutcomeLabels { outcome: outcome.as_str() }).inc();
        if let Some(seconds) = seconds {
            self.live_read_durations.observe(seconds);
        }
    }

    /// When the served certificate ends, in Unix seconds.
    pub fn certificate_expires(&self, unix_seconds: i64) {
        self.certificate_expiry.set(unix_seconds);
    }

    /// How many webhooks the configurations of a kind have.
    pub fn webhooks(&self, kind: &'static str, count: usize) {
        self.webhooks.get_or_create(&KindLabels { kind }).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A new certificate could not be taken up.
    pub fn certificate_reload_failed(&self) {
        self.certificate_reload_errors.inc();
    }

    /// Whether the last attempt to load the policies succeeded.
    pub fn policies_reloaded(&self, successful: bool) {
        self.policies_reloaded.set(i64::from(successful));
    }

    /// How many objects of a kind are cached.
    pub fn cache_objects(&self, kind: &'static str, count: usize) {
        self.cache_objects.get_or_create(&KindLabels { kind }).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// When the watch of a kind last brought an event or a bookmark, in Unix seconds.
    pub fn cache_event(&self, kind: &'static str, unix_seconds: i64) {
        self.cache_last_event.get_or_create(&KindLabels { kind }).set(unix_seconds);
    }

    /// Every waiver there is, in place of those of before.
    pub fn waivers(&self, all: &[Listed]) {
        let _scrape = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        self.waivers.clear();
        self.waiver_expiry.clear();
        self.emergency_waivers.clear();
        for listed in all {
            let namespace = listed.home().to_owned();
            // What is written for a rule that there is none of could be anything.
            let rule = rule(&listed.rule).map_or("unknown", |rule| rule.meta().name);
            let labels = WaiverLabels { namespace: namespace.clone(), rule, state: listed.state.as_str() };
            self.waivers.get_or_create(&labels).inc();
            if !matches!(listed.state, WaiverState::Active | WaiverState::Expiring) {
                continue;
            }
            let labels = WaivedLabels { namespace, rule };
            if listed.note.emergency {
                self.emergency_waivers.get_or_create(&labels).inc();
            }
            if let Some(ends) = listed.ends {
                let gauge = self.waiver_expiry.get_or_create(&labels);
                let known = gauge.get();
                gauge.set(if known == 0 { ends.as_second() } else { known.min(ends.as_second()) });
            }
        }
    }

    /// An audit record could not be written.
    pub fn audit_write_failed(&self) {
        self.audit_write_errors.inc();
    }

    /// What became of a Kubernetes Event.
    pub fn event(&self, outcome: EventOutcome) {
        self.events.get_or_create(&EventLabels { outcome: outcome.as_str() }).inc();
    }

    /// What became of so many things for a collector.
    pub fn exported(&self, signal: Signal, outcome: Exported, count: u64) {
        let labels = ExportLabels { signal: signal.as_str(), outcome: outcome.as_str() };
        self.exported.get_or_create(&labels).inc_by(count);
    }

    /// A TLS handshake failed, by error or by timeout.
    pub fn handshake_failed(&self) {
        self.handshake_failures.inc();
    }

    /// A request or a connection was turned away.
    pub fn shed(&self, reason: Shed) {
        self.shed.get_or_create(&ShedLabels { reason: reason.as_str() }).inc();
    }

    /// A request met a bug.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// A connection to the listener of that name was opened.
    pub(crate) fn connection_opened(&self, listener: &'static str) {
        self.connections.get_or_create(&ListenerLabels { listener }).inc();
    }

    /// A connection to the listener of that name ended.
    pub(crate) fn connection_closed(&self, listener: &'static str) {
        self.connections.get_or_create(&ListenerLabels { listener }).dec();
    }

    /// All metrics in the OpenMetrics text format, see [`CONTENT_TYPE`].
    pub fn encode(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a String can't fail, so an error would be one of a metric's encoder: what
        // there is helps more than nothing, and the missing `# EOF` tells the scraper.
        let _ = encode(&mut text, &registry);
        text
    }
}

#[cfg(test)]
mod tests;
