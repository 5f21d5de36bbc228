//! What answers at which path.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest as _, Request, State};
use axum::http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::certificates::ServingCertificate;
use crate::metrics::{self, Metrics};
use crate::review::{Review, ReviewAnswer, Reviewer};

/// Is what requests are answered with.
pub(super) struct Shared {
    pub(super) reviewer: Reviewer,
    pub(super) certificate: Arc<ServingCertificate>,
    pub(super) metrics: Arc<Metrics>,
    /// How long an answer may take where the request does not say it.
    pub(super) patience: Duration,
    /// Whether this process is about to end.
    pub(super) is_leaving: AtomicBool,
    /// Bounds the long requests that are in memory at the same time, in blocks of [`BLOCK_BYTES`].
    pub(super) blocks: Semaphore,
}

/// Returns the semaphore for [`Shared::blocks`].
pub(super) fn blocks() -> Semaphore {
    Semaphore::new(MAX_BLOCKS as usize)
}

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/validate", post(validate))
        .route("/mutate", post(mutate))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(show_metrics))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), leave))
        .with_state(shared)
}

async fn validate(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let deadline = shared.deadline(request.uri());
    match shared.review(request, deadline).await {
        Ok((review, _permit)) => {
            let response = shared.reviewer.validate(&review.request, deadline).await;
            Json(ReviewAnswer::new(response)).into_response()
        }
        Err(refusal) => shared.refuse(&refusal),
    }
}

async fn mutate(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let deadline = shared.deadline(request.uri());
    match shared.review(request, deadline).await {
        Ok((review, _permit)) => {
            let response = shared.reviewer.mutate(&review.request, deadline).await;
            Json(ReviewAnswer::new(response)).into_response()
        }
        Err(refusal) => shared.refuse(&refusal),
    }
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    match shared.problem() {
        None => "ready\n".into_response(),
        Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")).into_response(),
    }
}

async fn show_metrics(State(shared): State<Arc<Shared>>) -> Response {
    let is_ready = shared.problem().is_none();
    let text = shared.metrics.encode(is_ready, shared.reviewer.decider().size());
    ([(CONTENT_TYPE, metrics::MEDIA_TYPE)], text).into_response()
}

/// Has clients make a new connection, to somebody else, while this process is about to end: a request
/// on a connection that is just being closed would be lost.
async fn leave(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if shared.is_leaving.load(Ordering::Relaxed) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

impl Shared {
    /// Returns why requests are better sent to somebody else.
    fn problem(&self) -> Option<&'static str> {
        match self.is_leaving.load(Ordering::Relaxed) {
            true => Some("about to end"),
            false => self.certificate.problem(SystemTime::now()),
        }
    }

    /// Returns until when the request has to be answered. The API server says how long it waits; some
    /// of that is left for the way.
    fn deadline(&self, uri: &Uri) -> Instant {
        let asked = uri.query().unwrap_or_default().split('&');
        let asked = asked.filter_map(|pair| pair.strip_prefix("timeout=")).find_map(duration);
        let left = asked.map_or(self.patience, |asked| {
            asked.saturating_sub((asked / 10).max(MARGIN)).min(self.patience)
        });
        Instant::now() + left
    }

    /// Reads and parses a request, when there is room for it.
    async fn review(
        &self,
        request: Request,
        deadline: Instant,
    ) -> Result<(Review, SemaphorePermit<'_>), Refusal> {
        let blocks = check_headers(request.headers())?;
        let late =
            |_| Refusal::new(StatusCode::REQUEST_TIMEOUT, "slow", "the body did not come in time");
        let read = async {
            let permit = self.blocks.acquire_many(blocks).await.ok();
            (permit, Bytes::from_request(request, &()).await)
        };
        let (permit, body) = tokio::time::timeout_at(deadline.into(), read).await.map_err(late)?;
        let body = body.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Refusal::too_large(),
            status => Refusal::new(status, "invalid", rejection.body_text()),
        })?;
        let permit = permit.ok_or_else(|| {
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "ending", "about to end")
        })?;
        let review = Review::parse(&body)
            .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, "invalid", error.to_string()))?;
        Ok((review, permit))
    }

    fn refuse(&self, refusal: &Refusal) -> Response {
        self.metrics.refused(refusal.reason);
        tracing::warn!(
            status = refusal.status.as_u16(),
            reason = refusal.message,
            "this is no request for admission"
        );
        (refusal.status, format!("osguard: {}\n", refusal.message)).into_response()
    }
}

/// Is a request that cannot be answered as one.
struct Refusal {
    status: StatusCode,
    reason: &'static str,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status, reason, message: message.into() }
    }

    fn too_large() -> Self {
        let message = format!("more than {MAX_BODY_BYTES} bytes in one request");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", message)
    }
}

/// Looks at what is said of the body before it comes; returns for how many blocks it needs room.
fn check_headers(headers: &HeaderMap) -> Result<u32, Refusal> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = text(CONTENT_TYPE);
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "invalid",
            "the media type is not application/json",
        ));
    }
    let length = match text(CONTENT_LENGTH).parse::<usize>() {
        Ok(length) if length > MAX_BODY_BYTES => return Err(Refusal::too_large()),
        // The number of connections bounds these, and they do not wait for anybody who sends a long one slowly.
        Ok(length) if length <= SMALL_BODY_BYTES => return Ok(0),
        Ok(length) => length,
        Err(_) => MAX_BODY_BYTES,
    };
    Ok(u32::try_from(length / BLOCK_BYTES + 1).unwrap_or(MAX_BLOCKS).min(MAX_BLOCKS))
}

/// Reads a duration as the API server writes it: `10s`.
fn duration(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at(text.find(|letter: char| !letter.is_ascii_digit())?);
    let number = digits.parse::<u32>().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number.into())),
        "s" => Some(Duration::from_secs(number.into())),
        "m" => Some(Duration::from_secs(number.into()) * 60),
        _ => None,
    }
}

/// The longest request: an object of 3 MiB, which is the most that the API server takes, as it is
/// and as it was, with room to spare.
const MAX_BODY_BYTES: usize = 8 << 20;

const BLOCK_BYTES: usize = 4 << 10;

/// The longest request that needs no room of its own: nearly all are shorter.
const SMALL_BODY_BYTES: usize = 64 << 10;

/// How many blocks of longer requests are in memory at the same time: 24 MiB.
const MAX_BLOCKS: u32 = 6 << 10;

/// How much of the time that a request has is left for the way, at least.
const MARGIN: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_the_api_server_writes_them() {
        assert_eq!(duration("10s"), Some(Duration::from_secs(10)));
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("1m"), Some(Duration::from_secs(60)));
        for text in ["", "s", "10", "-1s", "1h", "99999999999s", "1.5s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
