//! What a request may take before it is judged: size, memory together with all others, and time to
//! arrive.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::Config;
use crate::metrics::Shed;

/// Why a request gets no verdict. The API server shows the text to the user after "failed calling
/// webhook", and the failure policy decides.
///
/// None of these may carry `Retry-After`: it makes the API server repeat the call up to ten times
/// within its timeout, which is the last thing an overloaded server needs.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub(super) enum Refusal {
    #[error("the body broke off")]
    BodyBroken,
    #[error("the body is larger than this server accepts")]
    BodyTooLarge,
    #[error("the body did not arrive in time")]
    BodyTooSlow,
    #[error("overloaded: too many requests are being judged")]
    Busy,
    #[error("overloaded: the requests in flight take all the memory they may")]
    BytesInFlight,
    #[error("the request was not judged in time")]
    Late,
    #[error("expected Content-Type: application/json")]
    NotJson,
    #[error("an internal error stopped the review of this request")]
    Panicked,
}

impl Refusal {
    fn status(self) -> StatusCode {
        match self {
            Self::BodyBroken => StatusCode::BAD_REQUEST,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Busy | Self::BytesInFlight => StatusCode::SERVICE_UNAVAILABLE,
            Self::Late => StatusCode::GATEWAY_TIMEOUT,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// How it counts as shed, if it does: what only a faulty client meets doesn't.
    pub(super) fn shed(self) -> Option<Shed> {
        match self {
            Self::BodyTooLarge => Some(Shed::BodyTooLarge),
            Self::BodyTooSlow => Some(Shed::BodyTooSlow),
            Self::Busy => Some(Shed::Reviews),
            Self::BytesInFlight => Some(Shed::Bytes),
            Self::Late => Some(Shed::Deadline),
            Self::BodyBroken | Self::NotJson | Self::Panicked => None,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status(), format!("{self}\n")).into_response()
    }
}

/// A body and its share of the memory that bodies may take; the share is given back when this is
/// dropped.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

/// Reads bodies within bounds.
#[derive(Clone, Debug)]
pub(super) struct BodyReader {
    /// The largest single body, in bytes.
    limit: usize,
    /// How many of each body's first bytes take no permit.
    first: usize,
    /// One permit for each byte after those that may be in flight.
    budget: Arc<Semaphore>,
    timeout: Duration,
}

impl BodyReader {
    pub(super) fn new(config: &Config) -> Self {
        // A semaphore has a largest number of permits, far above any memory there is.
        let budget = Arc::new(Semaphore::new(config.bytes_in_flight.min(Semaphore::MAX_PERMITS)));
        Self { limit: config.body_limit, first: config.first_bytes, budget, timeout: config.body_timeout }
    }

    /// Reads a body to its end.
    ///
    /// Memory is charged as the bytes arrive, not by `Content-Length`: a length is only a claim,
    /// and charging for claims would let four idle connections take the whole budget. A declared
    /// length over the limit is still refused without reading.
    pub(super) async fn read(
        &self,
        headers: &HeaderMap,
        body: Body,
        deadline: Instant,
    ) -> Result<Held, Refusal> {
        let declared = declared_length(headers);
        if declared.is_some_and(|length| length > self.limit) {
            return Err(Refusal::BodyTooLarge);
        }
        let deadline = deadline.min(Instant::now() + self.timeout);
        timeout_at(deadline, self.collect(body, declared)).await.map_err(|_| Refusal::BodyTooSlow)?
    }

    async fn collect(&self, body: Body, declared: Option<usize>) -> Result<Held, Refusal> {
        let mut frames = body.into_data_stream();
        let mut bytes: Vec<u8> = Vec::new();
        let mut share: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = frames.next().await {
            let frame = frame.map_err(|_| Refusal::BodyBroken)?;
            if bytes.len() + frame.len() > self.limit {
                return Err(Refusal::BodyTooLarge);
            }
            let counted = |length: usize| length.saturating_sub(self.first);
            if let Some(more) = self.charge(counted(bytes.len() + frame.len()) - counted(bytes.len()))? {
                match &mut share {
                    Some(share) => share.merge(more),
                    None => share = Some(more),
                }
            }
            if bytes.is_empty() {
                // Reserved only now that something came. Pages nobody writes to cost nothing, so
                // one exact reservation is cheaper than growing by doubling, which would hold the
                // body twice for a moment.
                bytes.reserve_exact(declared.unwrap_or(0).max(frame.len()));
            }
            bytes.extend_from_slice(&frame);
        }
        Ok(Held { bytes: Bytes::from(bytes), _share: share })
    }

    fn charge(&self, bytes: usize) -> Result<Option<OwnedSemaphorePermit>, Refusal> {
        let bytes = u32::try_from(bytes).map_err(|_| Refusal::BodyTooLarge)?;
        if bytes == 0 {
            return Ok(None);
        }
        Arc::clone(&self.budget).try_acquire_many_owned(bytes).map(Some).map_err(|_| Refusal::BytesInFlight)
    }
}

/// The length that the client announces, if it announces one. hyper has refused unreadable ones
/// already.
fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether the headers announce JSON, whatever parameters follow.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let media_type = media_type.split(';').next().unwrap_or("");
    media_type.trim().eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    fn chunks(sizes: &[usize]) -> Body {
        let frames: Vec<Result<_, std::io::Error>> =
            sizes.iter().map(|n| Ok(Bytes::from(vec![b'x'; *n]))).collect();
        Body::from_stream(stream::iter(frames))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn reader(body_limit: usize, bytes_in_flight: usize) -> BodyReader {
        let any = (std::net::Ipv4Addr::LOCALHOST, 0).into();
        let body_timeout = Duration::from_secs(60);
        BodyReader::new(&Config {
            body_limit,
            bytes_in_flight,
            first_bytes: 0,
            body_timeout,
            ..Config::new(any, any)
        })
    }

    #[tokio::test]
    async fn a_body_up_to_the_limit_is_read_and_one_byte_more_refused() {
        let reader = reader(10, 100);
        let held = reader.read(&HeaderMap::new(), chunks(&[4, 0, 6]), soon()).await.unwrap();
        assert_eq!(held.bytes.len(), 10);
        let refusal = reader.read(&HeaderMap::new(), chunks(&[4, 7]), soon()).await.unwrap_err();
        assert_eq!(refusal, Refusal::BodyTooLarge);
    }

    #[tokio::test]
    async fn a_declared_length_over_the_limit_is_refused_unread() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, "11".parse().unwrap());
        let body = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let refusal = reader(10, 100).read(&headers, body, soon()).await.unwrap_err();
        assert_eq!(refusal, Refusal::BodyTooLarge);
    }

    #[tokio::test]
    async fn bytes_in_flight_are_bounded_and_given_back() {
        let reader = reader(10, 15);
        let first = reader.read(&HeaderMap::new(), chunks(&[10]), soon()).await.unwrap();
        let refusal = reader.read(&HeaderMap::new(), chunks(&[5, 1]), soon()).await.unwrap_err();
        assert_eq!(refusal, Refusal::BytesInFlight);
        drop(first);
        assert_eq!(reader.budget.available_permits(), 15);
        reader.read(&HeaderMap::new(), chunks(&[10]), soon()).await.unwrap();
    }

    #[tokio::test]
    async fn short_bodies_have_room_beside_all_others() {
        let reader = BodyReader { first: 3, ..reader(100, 10) };
        let _all = reader.read(&HeaderMap::new(), chunks(&[2, 2, 9]), soon()).await.unwrap();
        assert_eq!(reader.budget.available_permits(), 0);
        let short = reader.read(&HeaderMap::new(), chunks(&[1, 2]), soon()).await.unwrap();
        assert_eq!(short.bytes.len(), 3);
        let refusal = reader.read(&HeaderMap::new(), chunks(&[1, 3]), soon()).await.unwrap_err();
        assert_eq!(refusal, Refusal::BytesInFlight);
    }

    #[tokio::test]
    async fn a_body_that_stops_coming_is_given_up() {
        let reader = BodyReader { timeout: Duration::from_millis(10), ..reader(10, 100) };
        let body = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let refusal = reader.read(&HeaderMap::new(), body, soon()).await.unwrap_err();
        assert_eq!(refusal, Refusal::BodyTooSlow);
    }

    #[test]
    fn json_is_known_by_its_media_type() {
        for (value, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/json-patch+json", false),
            ("text/plain", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
            assert_eq!(is_json(&headers), expected, "{value}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
