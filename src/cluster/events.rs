//! Events (`events.k8s.io/v1`) about what users ought to notice: denials, emergency waivers that
//! were used, and waivers that end soon. Best effort; the audit log is what counts.
//!
//! Requests only ever put a [`Notice`] into a bounded queue. One task writes: the same finding of the
//! same object is one Event whose series counts, and all Events share one budget. An Event's name
//! follows from what it says, so replicas that say the same count up the same Event.

mod notice;
mod pending;
mod reminder;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{Instant, sleep_until, timeout};

use self::pending::{Pending, Waiting};
use super::pace::Pace;
use super::request::is_status;
use super::{Cluster, brief};
use crate::audit::Record;
use crate::metrics::{EventOutcome, Metrics};
use crate::review::Witness;

pub use self::notice::{Notice, Reason, Regarding};
pub use self::reminder::Reminders;

/// What Events name as their author.
const CONTROLLER: &str = "plimsoll.dev/admission";
/// How many notices may wait for the task.
const QUEUE: usize = 1024;
/// How many are written a second in the long run, and at once after a quiet time.
const PER_SECOND: u32 = 5;
const BURST: u32 = 25;
/// How long writing one Event may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often one Event is tried while others write the same.
const ATTEMPTS: usize = 4;
/// The longest reportingInstance (`pkg/apis/core/validation/events.go`).
const LONGEST_INSTANCE: usize = 128;

/// Where notices go; clones share the queue.
#[derive(Clone, Debug)]
pub struct Events {
    queue: Sender<Notice>,
    metrics: Arc<Metrics>,
}

impl Events {
    /// The queue, and the task that writes, to be spawned; it ends when the last queue is gone.
    pub fn new(
        cluster: &Cluster,
        instance: &str,
        metrics: &Arc<Metrics>,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (queue, notices) = mpsc::channel(QUEUE);
        let mut instance = instance.to_owned();
        instance.truncate(instance.floor_char_boundary(LONGEST_INSTANCE));
        let writer =
            Writer { client: cluster.client.clone(), instance, metrics: Arc::clone(metrics), failing: false };
        (Self { queue, metrics: Arc::clone(metrics) }, writer.run(notices))
    }

    /// Hands a notice to the task, or drops and counts it. Never waits.
    pub fn tell(&self, notice: Notice) {
        if self.queue.try_send(notice).is_err() {
            self.metrics.event(EventOutcome::Dropped);
        }
    }
}

impl Witness for Events {
    fn decided(&self, record: &Record, uid: Option<&str>) {
        for notice in notice::of(record, uid) {
            self.tell(notice);
        }
    }
}

struct Writer {
    client: kube::Client,
    instance: String,
    metrics: Arc<Metrics>,
    failing: bool,
}

impl Writer {
    async fn run(mut self, mut notices: Receiver<Notice>) {
        let mut waiting = Waiting::default();
        let mut pace = Pace::new(PER_SECOND, BURST, Instant::now());
        loop {
            tokio::select! {
                notice = notices.recv() => match notice {
                    None => return,
                    Some(notice) => {
                        if !waiting.add(notice, Timestamp::now()) {
                            self.metrics.event(EventOutcome::Dropped);
                        }
                    }
                },
                () = sleep_until(pace.next()), if !waiting.is_empty() => {
                    pace.take(Instant::now());
                    if let Some(pending) = waiting.pop() {
                        self.write(&pending).await;
                    }
                }
            }
        }
    }

    async fn write(&mut self, pending: &Pending) {
        let problem = match timeout(PATIENCE, self.try_write(pending)).await {
            Ok(Ok(())) => {
                self.failing = false;
                return self.metrics.event(EventOutcome::Written);
            }
            Ok(Err(error)) => brief(&error),
            Err(_elapsed) => "the API server took too long".to_owned(),
        };
        self.metrics.event(EventOutcome::Failed);
        // Without the permission each of them fails; once is enough to say so.
        if !self.failing {
            tracing::warn!(problem, "Events can't be written.");
        }
        self.failing = true;
    }

    async fn try_write(&self, pending: &Pending) -> kube::Result<()> {
        let api: Api<Event> =
            Api::namespaced(self.client.clone(), pending.notice.regarding.event_namespace());
        let name = pending.notice.name();
        let mut last = Ok(());
        for _ in 0..ATTEMPTS {
            let attempt = match api.get_opt(&name).await? {
                None => api.create(&PostParams::default(), &self.event(&name, pending)).await,
                // The replica that led before has said so.
                Some(event) if pending.is_reminder() && told_today(&event, pending.last) => return Ok(()),
                Some(event) => {
                    api.patch(&name, &PatchParams::default(), &Patch::Merge(counted(&event, pending))).await
                }
            };
            match attempt {
                Ok(_) => return Ok(()),
                // Another replica was faster, or the Event's time was up.
                Err(error) if is_status(&error, 409) || is_status(&error, 404) => last = Err(error),
                Err(error) => return Err(error),
            }
        }
        last
    }

    fn event(&self, name: &str, pending: &Pending) -> Event {
        let Notice { reason, regarding, note, .. } = &pending.notice;
        let series = (pending.count > 1)
            .then_some(EventSeries { count: pending.count, last_observed_time: MicroTime(pending.last) });
        let text = |text: &str| Some(text.to_owned());
        Event {
            metadata: ObjectMeta {
                name: text(name),
                namespace: text(regarding.event_namespace()),
                ..ObjectMeta::default()
            },
            type_: text("Warning"),
            reason: text(reason.as_str()),
            action: text(reason.action()),
            note: text(note),
            regarding: Some(ObjectReference {
                api_version: text(&regarding.api_version),
                kind: text(&regarding.kind),
                namespace: Some(regarding.namespace.clone()).filter(|namespace| !namespace.is_empty()),
                name: text(&regarding.name),
                uid: regarding.uid.clone(),
                ..ObjectReference::default()
            }),
            event_time: Some(MicroTime(pending.first)),
            reporting_controller: text(CONTROLLER),
            reporting_instance: text(&self.instance),
            series,
            ..Event::default()
        }
    }
}

/// Whether an Event said the same less than a day ago.
fn told_today(event: &Event, now: Timestamp) -> bool {
    let last = event.series.as_ref().map(|series| &series.last_observed_time);
    last.or(event.event_time.as_ref())
        .is_some_and(|MicroTime(last)| now.duration_since(*last) < reminder::EVERY)
}

/// The patch that counts an Event up; a series is all that may ever change in one.
fn counted(event: &Event, pending: &Pending) -> serde_json::Value {
    let before = event.series.as_ref().map_or(1, |series| series.count);
    json!({
        "metadata": {"resourceVersion": event.metadata.resource_version},
        "series": {
            "count": before.saturating_add(pending.count),
            "lastObservedTime": MicroTime(pending.last),
        },
    })
}

#[cfg(test)]
mod tests;
