//! `POST /validate` and `POST /mutate`: from the request's first byte to the review, and from its
//! answer back.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, error};

use super::deadline::Deadline;
use super::limits::{BodyReader, Refusal, is_json};
use crate::metrics::Metrics;
use crate::review::{Answer, Phase, Review};

/// What the two routes share.
pub(super) struct Webhook {
    pub(super) review: Arc<dyn Review>,
    pub(super) bodies: BodyReader,
    /// One permit for each review that may run. A review holds its own to its end, whoever still
    /// waits for it.
    pub(super) reviews: Arc<Semaphore>,
    pub(super) metrics: Arc<Metrics>,
}

/// The routes of the webhook port. Nothing here redirects: the API server would follow, and turn a
/// 302 into a GET.
pub(super) fn router(webhook: Arc<Webhook>) -> Router {
    let route = |phase| {
        post(move |State(webhook): State<Arc<Webhook>>, request: Request| async move {
            webhook.answer(phase, request).await
        })
    };
    Router::new()
        .route("/validate", route(Phase::Validate))
        .route("/mutate", route(Phase::Mutate))
        .method_not_allowed_fallback(async || (StatusCode::METHOD_NOT_ALLOWED, "expected POST\n"))
        .fallback(async || (StatusCode::NOT_FOUND, "expected /validate or /mutate\n"))
        .with_state(webhook)
}

impl Webhook {
    async fn answer(&self, phase: Phase, request: Request) -> Response {
        let deadline = Deadline::of(request.uri(), Instant::now());
        match self.review(phase, request, deadline).await {
            Ok(Answer { status, body }) => {
                let json = HeaderValue::from_static("application/json");
                (status, [(header::CONTENT_TYPE, json)], body).into_response()
            }
            Err(refusal) => {
                debug!(?phase, %refusal, "request refused");
                if let Some(reason) = refusal.shed() {
                    self.metrics.shed(reason);
                }
                refusal.into_response()
            }
        }
    }

    /// Reads the body first and asks for a place after it, so that slow senders hold no place.
    async fn review(&self, phase: Phase, request: Request, deadline: Deadline) -> Result<Answer, Refusal> {
        let (parts, body): (_, Body) = request.into_parts();
        if !is_json(&parts.headers) {
            return Err(Refusal::NotJson);
        }
        let held = self.bodies.read(&parts.headers, body, deadline.answer).await?;
        let place = Arc::clone(&self.reviews).try_acquire_owned().map_err(|_| Refusal::Busy)?;

        // hyper drops this future when the client goes away. The task goes on, so the audit record
        // gets written, and a panic ends the task and nothing else.
        let review = Arc::clone(&self.review);
        let metrics = Arc::clone(&self.metrics);
        let task = tokio::spawn(async move {
            let panics = CountPanic(metrics);
            let answer = review.review(phase, held.bytes.clone(), deadline.review).await;
            drop((panics, held, place));
            answer
        });
        match timeout_at(deadline.answer, task).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(failure)) => {
                error!(?phase, %failure, "review failed; this is a bug");
                Err(Refusal::Panicked)
            }
            Err(_) => Err(Refusal::Late),
        }
    }
}

/// Counts the panic that drops it, whether or not anybody still waits for the task's result.
struct CountPanic(Arc<Metrics>);

impl Drop for CountPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.panicked();
        }
    }
}
