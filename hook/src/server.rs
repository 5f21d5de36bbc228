//! The HTTP side: notifications in, health and metrics out.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest as _, Request, State};
use axum::http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::allow_list::AllowList;
use crate::health::Health;
use crate::metrics::{self, EventResult, Metrics, RefusalReason};
use crate::notification::{self, Action, Event, MAX_BODY_BYTES, Meaning};
use crate::queue::{Change, Noted, Queue, QueueError};
use crate::repository::{Repository, Target};
use crate::token::Token;

/// Is what requests are answered with.
pub(crate) struct Shared {
    pub(crate) allow_list: AllowList,
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
    pub(crate) queue: Arc<Queue>,
    /// `None` only where nobody but this machine can connect.
    pub(crate) token: Option<Token>,
    pub(crate) known_strangers: KnownStrangers,
    /// When a refusal was last written to the log.
    pub(crate) last_refusal: Mutex<Option<Instant>>,
    /// Bounds the notifications that are in memory at the same time.
    pub(crate) bodies: Semaphore,
}

/// Returns what answers at which path.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/notifications", post(notifications))
        .route("/failed", get(failed))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(show_metrics))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(shared)
}

/// Returns the semaphore for [`Shared::bodies`].
pub(crate) fn bodies() -> Semaphore {
    Semaphore::new(MAX_BODIES)
}

/// Takes note of what the registry tells of. The answer is 200 only when that is on the disk: until
/// then the registry has it, and tells again.
async fn notifications(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let accepted = accept(&shared, request).await;
    match accepted {
        Ok(()) => StatusCode::OK.into_response(),
        Err(refusal) => {
            shared.note(&refusal);
            refusal.into_response()
        }
    }
}

async fn accept(shared: &Shared, request: Request) -> Result<(), Refusal> {
    shared.authorize(request.headers())?;
    check_headers(request.headers())?;
    let _permit = shared.bodies.acquire().await;
    let body = tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, &()))
        .await
        .map_err(|_| Refusal::slow())?
        .map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Refusal::too_large(),
            _ => Refusal::invalid(StatusCode::BAD_REQUEST, rejection.body_text()),
        })?;
    let events = notification::parse(&body).map_err(|error| match error {
        notification::NotificationError::Json { .. } => {
            Refusal::invalid(StatusCode::BAD_REQUEST, error.to_string())
        }
        _ => Refusal::too_large(),
    })?;
    drop(body);
    let mut sorted = Sorted::default();
    for event in events {
        sorted.add(event, shared);
    }
    let noted = match sorted.changes.is_empty() {
        true => Vec::new(),
        false => shared.queue.notify(sorted.changes).await.map_err(Refusal::queue)?,
    };
    for (action, result) in sorted.results {
        shared.metrics.event(action, result);
    }
    for (action, noted) in sorted.actions.into_iter().zip(noted) {
        shared.metrics.event(action, noted.into());
    }
    Ok(())
}

/// Lists what failed for good, newest first, to whoever has the token.
async fn failed(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let list = async {
        shared.authorize(&headers)?;
        shared.queue.failed(MAX_LISTED).await.map_err(Refusal::queue)
    };
    match list.await {
        Err(refusal) => refusal.into_response(),
        Ok(failed) => Json(FailedReport {
            schema: "osguard.hook.failed.v1",
            failed: failed
                .into_iter()
                .map(|failed| FailedTarget {
                    repository: failed.target.repository.to_string(),
                    digest: failed.target.digest.to_string(),
                    attempts: failed.attempts,
                    at_unix_seconds: failed
                        .at
                        .duration_since(UNIX_EPOCH)
                        .unwrap_or_default()
                        .as_secs(),
                    reason: failed.reason,
                })
                .collect(),
        })
        .into_response(),
    }
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    match shared.health.problem() {
        None => "ready\n".into_response(),
        // The reason names hosts and files, and whoever asks need not have the token.
        Some(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready; the log says why\n").into_response()
        }
    }
}

async fn show_metrics(State(shared): State<Arc<Shared>>) -> Response {
    shared.metrics.set_ready(shared.health.problem().is_none());
    let text = shared.metrics.encode(shared.queue.counts());
    ([(CONTENT_TYPE, metrics::MEDIA_TYPE)], text).into_response()
}

impl Shared {
    /// Counts a refusal, and writes it to the log unless another one was written a moment ago:
    /// whoever can connect can be refused.
    fn note(&self, refusal: &Refusal) {
        self.metrics.refused(refusal.reason);
        let mut last = self.last_refusal.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= BETWEEN_REFUSALS) {
            *last = Some(Instant::now());
            let status = refusal.status.as_u16();
            tracing::warn!(status, reason = refusal.message, "refused a notification");
        }
    }

    fn authorize(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(token) = &self.token else { return Ok(()) };
        match headers.get(AUTHORIZATION) {
            Some(value) if token.is_in(value.as_bytes()) => Ok(()),
            Some(_) => Err(Refusal::unauthorized("the token is wrong")),
            None => Err(Refusal::unauthorized("there is no token")),
        }
    }
}

fn check_headers(headers: &HeaderMap) -> Result<(), Refusal> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = text(CONTENT_TYPE);
    if !notification::is_media_type(content_type) {
        let message = format!("{content_type:?} is not the media type of notifications");
        return Err(Refusal::invalid(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    // Refused before it is sent, where the sender says how long it is.
    match text(CONTENT_LENGTH).parse::<u64>() {
        Ok(length) if length > MAX_BODY_BYTES as u64 => Err(Refusal::too_large()),
        _ => Ok(()),
    }
}

/// Holds events by what is to be done with them.
#[derive(Default)]
struct Sorted {
    changes: Vec<Change>,
    /// The actions behind the changes.
    actions: Vec<Action>,
    /// What is decided already.
    results: Vec<(Action, EventResult)>,
}

impl Sorted {
    fn add(&mut self, event: Event, shared: &Shared) {
        let Event { action, meaning } = event;
        let allowed = |target: &Target| {
            let is_allowed = shared.allow_list.allows(&target.repository);
            if !is_allowed {
                shared.known_strangers.meet(&target.repository);
            }
            is_allowed
        };
        let change = match meaning {
            Meaning::Pushed(target) if allowed(&target) => Change::Pushed(target),
            Meaning::Deleted(target) if allowed(&target) => Change::Deleted(target),
            Meaning::Pushed(_) | Meaning::Deleted(_) => {
                self.results.push((action, EventResult::NotAllowed));
                return;
            }
            Meaning::Malformed(error) => {
                tracing::warn!(action = action.name(), %error, "an event makes no sense");
                self.results.push((action, EventResult::Malformed));
                return;
            }
            Meaning::Nothing | Meaning::Referrers(_) => {
                self.results.push((action, EventResult::Ignored));
                return;
            }
        };
        self.changes.push(change);
        self.actions.push(action);
    }
}

impl From<Noted> for EventResult {
    fn from(noted: Noted) -> Self {
        match noted {
            Noted::Duplicate => Self::Duplicate,
            Noted::Forgotten => Self::Forgotten,
            Noted::Queued => Self::Queued,
        }
    }
}

/// Holds the repositories that are not on the allow-list and of which the log knows.
#[derive(Debug, Default)]
pub(crate) struct KnownStrangers(Mutex<BTreeSet<Repository>>);

impl KnownStrangers {
    fn meet(&self, repository: &Repository) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < MAX_STRANGERS && known.insert(repository.clone()) {
            tracing::info!(%repository, "not on the allow-list, so nothing is signed there");
        }
    }
}

/// Is a request that is not done, and why.
struct Refusal {
    status: StatusCode,
    reason: RefusalReason,
    message: String,
}

impl Refusal {
    fn unauthorized(message: &str) -> Self {
        let message = message.to_owned();
        Self { status: StatusCode::UNAUTHORIZED, reason: RefusalReason::Unauthorized, message }
    }

    fn invalid(status: StatusCode, message: String) -> Self {
        Self { status, reason: RefusalReason::Invalid, message }
    }

    fn slow() -> Self {
        let message = format!("the body did not come within {} s", BODY_TIMEOUT.as_secs());
        Self { status: StatusCode::REQUEST_TIMEOUT, reason: RefusalReason::Slow, message }
    }

    fn too_large() -> Self {
        Self {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            reason: RefusalReason::TooLarge,
            message: format!(
                "more than {MAX_BODY_BYTES} bytes or {} events in one notification",
                notification::MAX_EVENTS
            ),
        }
    }

    fn queue(error: QueueError) -> Self {
        let reason = match error {
            QueueError::Full { .. } => RefusalReason::QueueFull,
            _ => RefusalReason::QueueUnusable,
        };
        Self { status: StatusCode::SERVICE_UNAVAILABLE, reason, message: error.to_string() }
    }

    fn into_response(self) -> Response {
        let message = match self.reason {
            // It names files.
            RefusalReason::QueueUnusable => "the queue cannot be used".to_owned(),
            _ => self.message,
        };
        let mut response = (self.status, message + "\n").into_response();
        let header = match self.status {
            StatusCode::UNAUTHORIZED => Some((WWW_AUTHENTICATE, "Bearer")),
            StatusCode::SERVICE_UNAVAILABLE => Some((RETRY_AFTER, "10")),
            _ => None,
        };
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, axum::http::HeaderValue::from_static(value));
        }
        response
    }
}

#[derive(Serialize)]
struct FailedReport {
    schema: &'static str,
    failed: Vec<FailedTarget>,
}

#[derive(Serialize)]
struct FailedTarget {
    repository: String,
    digest: String,
    attempts: u32,
    at_unix_seconds: u64,
    reason: String,
}

/// How long the body of a notification may take. Registries give up after some seconds themselves.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the log says nothing of further refusals; they are counted all the same.
const BETWEEN_REFUSALS: Duration = Duration::from_secs(10);

/// How many notifications are read at the same time: 16 MiB of them.
const MAX_BODIES: usize = 16;

/// How many failures are listed.
const MAX_LISTED: usize = 100;

/// How many repositories that are not on the allow-list get a line in the log.
const MAX_STRANGERS: usize = 1000;
