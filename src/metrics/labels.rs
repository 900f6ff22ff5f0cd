//! Labels and the fixed sets that their values come from.

use prometheus_client::encoding::EncodeLabelSet;

/// What the API server may ask about; anything else is counted as `other`.
pub(super) const OPERATIONS: [&str; 4] = ["CREATE", "UPDATE", "DELETE", "CONNECT"];

/// The kinds that a default installation or a sensible extension of it sends; anything else is
/// `other`.
pub(super) const KINDS: [&str; 16] = [
    "ConfigMap",
    "CronJob",
    "DaemonSet",
    "Deployment",
    "HorizontalPodAutoscaler",
    "InvariantPolicy",
    "Job",
    "Namespace",
    "PersistentVolumeClaim",
    "Pod",
    "PodDisruptionBudget",
    "ReplicaSet",
    "ReplicationController",
    "Scale",
    "ScaledObject",
    "StatefulSet",
];

/// Why a request or a connection was turned away before it was judged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shed {
    /// The body is larger than the limit.
    BodyTooLarge,
    /// The body did not arrive in time.
    BodyTooSlow,
    /// The bodies in flight together take as much memory as they may.
    Bytes,
    /// As many connections are open as may be.
    Connections,
    /// The answer was not ready in time.
    Deadline,
    /// As many requests are being judged as may be.
    Reviews,
}

impl Shed {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::BodyTooLarge => "body_too_large",
            Self::BodyTooSlow => "body_too_slow",
            Self::Bytes => "bytes",
            Self::Connections => "connections",
            Self::Deadline => "deadline",
            Self::Reviews => "reviews",
        }
    }
}

/// What became of an Event that was to be written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EventOutcome {
    /// Too many others waited.
    Dropped,
    /// The API server didn't take it.
    Failed,
    /// It was written, or counted up.
    Written,
}

impl EventOutcome {
    pub(super) const ALL: [Self; 3] = [Self::Dropped, Self::Failed, Self::Written];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::Failed => "failed",
            Self::Written => "written",
        }
    }
}

/// What is exported to a collector.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Signal {
    /// Audit records.
    Logs,
    /// Spans of requests.
    Traces,
}

impl Signal {
    /// What OpenTelemetry calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Traces => "traces",
        }
    }
}

/// What became of what was to be exported.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exported {
    /// Too many others waited.
    Dropped,
    /// The collector didn't take it.
    Failed,
    /// The collector has it.
    Sent,
}

impl Exported {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::Failed => "failed",
            Self::Sent => "sent",
        }
    }
}

/// What became of a verdict that the cluster was asked about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Confirmation {
    /// The cluster agrees with the cache.
    Confirmed,
    /// The cluster knew better: a denial was none, or the other way round.
    Overturned,
    /// The cluster did not say, so the request is denied.
    Unconfirmed,
}

impl Confirmation {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Overturned => "overturned",
            Self::Unconfirmed => "unconfirmed",
        }
    }
}

/// How a live read of one object or one list went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LiveRead {
    /// The API server answered.
    Answered,
    /// It could not be asked, or its answer made no sense.
    Failed,
    /// So many reads were due that it was not asked.
    Limited,
    /// A request waited for a read that another had asked for: none of its own.
    Shared,
    /// It did not answer in time.
    TimedOut,
}

impl LiveRead {
    pub(super) const ALL: [Self; 5] =
        [Self::Answered, Self::Failed, Self::Limited, Self::Shared, Self::TimedOut];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Limited => "limited",
            Self::Shared => "shared",
            Self::TimedOut => "timed_out",
        }
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct AdmissionLabels {
    pub(super) operation: &'static str,
    pub(super) kind: &'static str,
    pub(super) decision: &'static str,
    pub(super) dry_run: bool,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct ExportLabels {
    pub(super) signal: &'static str,
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct EventLabels {
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct FindingLabels {
    pub(super) rule: &'static str,
    pub(super) action: &'static str,
    pub(super) state: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct KindLabels {
    pub(super) kind: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct WaiverLabels {
    pub(super) namespace: String,
    pub(super) rule: &'static str,
    pub(super) state: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct WaivedLabels {
    pub(super) namespace: String,
    pub(super) rule: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct ListenerLabels {
    pub(super) listener: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct OutcomeLabels {
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct ShedLabels {
    pub(super) reason: &'static str,
}

/// The member of `list` that `value` equals, or `other`.
pub(super) fn known(list: &[&'static str], value: &str) -> &'static str {
    list.iter().copied().find(|known| *known == value).unwrap_or("other")
}
