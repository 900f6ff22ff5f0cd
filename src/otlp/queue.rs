//! What waits for the collector.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_otlp::{LogExporter, SpanExporter};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogExporter as _, LogProcessor, SdkLogRecord};
use opentelemetry_sdk::trace::{self, SpanData, SpanExporter as _, SpanProcessor};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::metrics::{Exported, Metrics, Signal};

/// How many may wait; OpenTelemetry's own default.
const QUEUE: usize = 2048;
/// How many are sent at once; OpenTelemetry's own default.
const BATCH: usize = 512;
/// How long the first of a batch waits for company.
const LINGER: Duration = Duration::from_secs(1);

/// A log and what made it.
pub(super) type Log = (SdkLogRecord, InstrumentationScope);
/// A span that has ended.
pub(super) type Span = SpanData;

/// Where requests put things. They never wait here.
#[derive(Debug)]
pub(super) struct Queue<T> {
    sender: Sender<T>,
    signal: Signal,
    metrics: Arc<Metrics>,
}

/// What empties it.
pub(super) struct Drain<T, S> {
    items: Receiver<T>,
    sink: S,
    signal: Signal,
    metrics: Arc<Metrics>,
    closes: watch::Receiver<bool>,
}

/// What takes a batch.
pub(super) trait Sink<T>: Send + Sync {
    fn take(&self, batch: Vec<T>) -> impl Future<Output = OTelSdkResult> + Send;
}

/// A queue and what empties it into the sink, until it is told to close.
pub(super) fn queue<T, S>(
    sink: S,
    signal: Signal,
    metrics: &Arc<Metrics>,
    closes: watch::Receiver<bool>,
) -> (Queue<T>, Drain<T, S>) {
    let (sender, items) = mpsc::channel(QUEUE);
    let queue = Queue { sender, signal, metrics: Arc::clone(metrics) };
    (queue, Drain { items, sink, signal, metrics: Arc::clone(metrics), closes })
}

impl<T> Queue<T> {
    fn offer(&self, item: T) {
        if self.sender.try_send(item).is_err() {
            self.metrics.exported(self.signal, Exported::Dropped, 1);
        }
    }
}

impl LogProcessor for Queue<Log> {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        self.offer((record.clone(), scope.clone()));
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl SpanProcessor for Queue<Span> {
    fn on_start(&self, _: &mut trace::Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.offer(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl Sink<Log> for LogExporter {
    async fn take(&self, batch: Vec<Log>) -> OTelSdkResult {
        let logs: Vec<_> = batch.iter().map(|(record, scope)| (record, scope)).collect();
        self.export(LogBatch::new(&logs)).await
    }
}

impl Sink<Span> for SpanExporter {
    async fn take(&self, batch: Vec<Span>) -> OTelSdkResult {
        self.export(batch).await
    }
}

impl<T, S: Sink<T>> Drain<T, S> {
    /// Runs until it is told to close and everything that waited is sent or lost.
    pub(super) async fn run(mut self) {
        let mut batch = Vec::new();
        let mut is_failing = false;
        loop {
            let is_closing = *self.closes.borrow();
            if is_closing {
                self.items.close();
            }
            let received = tokio::select! {
                received = self.items.recv_many(&mut batch, BATCH) => received,
                _ = self.closes.changed(), if !is_closing => continue,
            };
            if received == 0 {
                return;
            }
            if batch.len() < BATCH && !is_closing {
                // It goes on at once when it is told to close.
                let _ = timeout(LINGER, self.closes.changed()).await;
                while batch.len() < BATCH
                    && let Ok(item) = self.items.try_recv()
                {
                    batch.push(item);
                }
            }
            let count = batch.len() as u64;
            match self.sink.take(std::mem::take(&mut batch)).await {
                Ok(()) => {
                    is_failing = false;
                    self.metrics.exported(self.signal, Exported::Sent, count);
                }
                Err(error) => {
                    self.metrics.exported(self.signal, Exported::Failed, count);
                    if !is_failing {
                        tracing::warn!(%error, signal = self.signal.as_str(), "The collector takes nothing.");
                    }
                    is_failing = true;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes nothing, and never says so.
    struct Stuck;

    impl Sink<usize> for Stuck {
        fn take(&self, _: Vec<usize>) -> impl Future<Output = OTelSdkResult> + Send {
            std::future::pending()
        }
    }

    #[tokio::test]
    async fn what_finds_no_room_is_dropped_and_counted() {
        let metrics = Arc::new(Metrics::new("test"));
        let (_closing, closes) = watch::channel(false);
        let (queue, drain) = queue(Stuck, Signal::Logs, &metrics, closes);
        (0..QUEUE + 5).for_each(|number| queue.offer(number));
        assert!(timeout(Duration::ZERO, drain.run()).await.is_err());
        let lost = r#"plimsoll_exported_total{signal="logs",outcome="dropped"} 5"#;
        assert!(metrics.encode().contains(lost), "{}", metrics.encode());
    }
}
