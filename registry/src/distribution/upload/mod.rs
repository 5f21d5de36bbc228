//! Uploads: blobs that are sent in one piece while they are read.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Method, StatusCode, Url};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::answer::Answer;
use super::authorization::Access;
use super::client::{Client, Request};
use super::connections::{failure, standstill};
use super::error::RegistryError;
use super::patience::is_passing;
use super::runtime::{spawn, wait};
use crate::blob::BlobReader;
use crate::descriptor::Descriptor;
use crate::error::Error;
use crate::place::{BlobSource, Pushed};

/// Stores a blob that the repository does not have: by taking it from another repository of the
/// registry, or by sending it.
///
/// An upload that is cut off is started again from its beginning, which is the only way that all
/// registries agree on. At most [`PIECES_IN_FLIGHT`] pieces of [`PIECE_BYTES`] are in memory.
pub(super) fn upload(
    client: &Arc<Client>,
    descriptor: &Descriptor,
    source: &dyn BlobSource,
) -> Result<Pushed, Error> {
    let origin = source.repository().filter(|origin| {
        origin.registry == client.registry() && origin.name != client.repository()
    });
    let mut session = match origin {
        Some(origin) => match wait(mount(client, descriptor, &origin.name))? {
            Mounted::Stored => return Ok(Pushed::Stored),
            Mounted::Session(session) => session,
        },
        None => wait(open(client))?,
    };
    let mut attempt = 1;
    let mut was_challenged = false;
    loop {
        let (error, pause) = match send(client, descriptor, source, session.clone()) {
            Ok(Sent::Stored) => return Ok(Pushed::Stored),
            // The token has run out while others were sent; the next one is at hand.
            Ok(Sent::Challenged(error)) => {
                let is_first = !std::mem::replace(&mut was_challenged, true);
                (error.into(), is_first.then_some(Duration::ZERO))
            }
            Ok(Sent::Passing(error, asked)) => {
                (error.into(), client.patience().pause(attempt, asked))
            }
            Ok(Sent::Refused(error)) => (error.into(), None),
            Err(error) => (error, None),
        };
        wait(cancel(client, session));
        match pause {
            Some(pause) => wait(async { sleep(pause).await }),
            None => return Err(error),
        }
        attempt += 1;
        session = wait(open(client))?;
    }
}

enum Mounted {
    Session(Url),
    Stored,
}

/// Asks the registry to take the blob from its repository `from`. One that cannot opens an upload
/// instead, and one that will not is not asked again.
async fn mount(
    client: &Client,
    descriptor: &Descriptor,
    from: &str,
) -> Result<Mounted, RegistryError> {
    let mut url = client.url("blobs/uploads/").await?;
    url.query_pairs_mut()
        .append_pair("mount", &descriptor.digest.to_string())
        .append_pair("from", from);
    let access = Access::Mount { from: from.to_owned() };
    let answer = match client.send(&empty(Method::POST, url, access)).await {
        Ok(answer) => answer,
        // Whoever may not read the other repository may write to this one all the same.
        Err(RegistryError::Denied { .. } | RegistryError::Unauthorized { .. }) => {
            return Ok(Mounted::Session(open(client).await?));
        }
        Err(error) => return Err(error),
    };
    match answer.status() {
        StatusCode::CREATED => Ok(Mounted::Stored),
        StatusCode::ACCEPTED => Ok(Mounted::Session(session(&answer)?)),
        _ => Ok(Mounted::Session(open(client).await?)),
    }
}

/// Opens an upload and returns where to send the blob.
async fn open(client: &Client) -> Result<Url, RegistryError> {
    let url = client.url("blobs/uploads/").await?;
    let mut answer = client.send(&empty(Method::POST, url, Access::Push)).await?;
    match answer.status() {
        StatusCode::ACCEPTED => session(&answer),
        StatusCode::NOT_FOUND => {
            let words = answer.words().await;
            Err(client.no_such_repository(words))
        }
        _ => Err(answer.into_status_error().await),
    }
}

fn session(answer: &Answer) -> Result<Url, RegistryError> {
    let location = answer
        .header(LOCATION)
        .ok_or_else(|| answer.nonsense("an upload was opened without a location"))?;
    match answer.full_url().join(location) {
        Ok(url) if url.scheme() == answer.full_url().scheme() || url.scheme() == "https" => Ok(url),
        _ => Err(answer.nonsense("an upload was opened at what is no web address, or leaves TLS")),
    }
}

/// Gives an upload up, so that the registry need not keep what it has of it. If that fails, the
/// registry's own clearing-up will do it.
async fn cancel(client: &Client, session: Url) {
    for _ in 0..2 {
        let mut request = reqwest::Request::new(Method::DELETE, session.clone());
        let Ok(shown) = client.authorise(&mut request, &Access::GiveUp).await else { return };
        let Ok(mut answer) = client.connections.exchange(request).await else { return };
        if answer.status() != StatusCode::UNAUTHORIZED
            || client.challenged(&mut answer, &Access::GiveUp, shown.as_ref()).await.is_err()
        {
            return;
        }
    }
}

enum Sent {
    /// The registry wants to see other authorisation, which is at hand now.
    Challenged(RegistryError),
    /// It failed in a way that may pass; the registry may have asked to wait.
    Passing(RegistryError, Option<Duration>),
    /// It failed for good.
    Refused(RegistryError),
    Stored,
}

impl Sent {
    fn failed(error: RegistryError) -> Self {
        match error.is_worth_another_attempt() {
            true => Self::Passing(error, None),
            false => Self::Refused(error),
        }
    }
}

/// Sends the blob once.
///
/// # Errors
///
/// Returns what is wrong with the source. The registry's part is in [`Sent`].
fn send(
    client: &Arc<Client>,
    descriptor: &Descriptor,
    source: &dyn BlobSource,
    session: Url,
) -> Result<Sent, Error> {
    let object = format!("blob {} for {}", descriptor.digest, client.place_name());
    let mut content = source.open()?;
    let content: &mut dyn Read = &mut *content;
    let mut blob = BlobReader::new(content, object.clone(), descriptor.digest, descriptor.size);

    if descriptor.size == 0 {
        // There is no last piece that would be held back if the source had more.
        blob.read(&mut [0]).map_err(|error| Error::from_read(&object, error))?;
    }
    let (pieces, receiver) = mpsc::channel(PIECES_IN_FLIGHT);
    let progress = Arc::new(Progress::new());
    let body = StreamedBody {
        pieces: receiver,
        remaining_bytes: descriptor.size,
        progress: Arc::clone(&progress),
    };
    let task = spawn(put(Arc::clone(client), descriptor.clone(), session, body, progress));
    let mut outcome = Ok(());
    let mut left = descriptor.size;
    loop {
        match read_piece(&mut blob, &mut left) {
            Ok(piece) if piece.is_empty() => break,
            Ok(piece) => {
                // Nobody takes the rest of a blob that the registry has refused.
                if pieces.blocking_send(Ok(piece)).is_err() {
                    break;
                }
            }
            Err(error) => {
                let _ = pieces.blocking_send(Err(io::Error::other("the source has failed")));
                outcome = Err(Error::from_read(&object, error));
                break;
            }
        }
    }
    drop(pieces);
    let sent = wait(task);
    outcome?;
    sent.map_err(|error| RegistryError::Runtime { source: error.into() }.into())
}

async fn put(
    client: Arc<Client>,
    descriptor: Descriptor,
    mut url: Url,
    body: StreamedBody,
    progress: Arc<Progress>,
) -> Sent {
    url.query_pairs_mut().append_pair("digest", &descriptor.digest.to_string());
    let mut request = reqwest::Request::new(Method::PUT, url.clone());
    let octets = HeaderValue::from_static("application/octet-stream");
    request.headers_mut().insert(CONTENT_TYPE, octets);
    request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(descriptor.size));
    let outcome = exchange(&client, request, body, &progress).await;
    let (mut answer, shown) = match outcome {
        Ok(outcome) => outcome,
        Err(error) => return Sent::failed(error),
    };
    match answer.status() {
        // Not all registries say where the blob is now: its digest does.
        status if status.is_success() => Sent::Stored,
        StatusCode::UNAUTHORIZED => {
            match client.challenged(&mut answer, &Access::Push, shown.as_ref()).await {
                Ok(_) => Sent::Challenged(client.unauthorized(&mut answer, &Access::Push).await),
                Err(error) => Sent::Refused(error),
            }
        }
        StatusCode::FORBIDDEN => Sent::Refused(client.denied(answer, &Access::Push).await),
        status if status.is_redirection() => Sent::Refused(answer.into_redirected()),
        // Registries behind a balancer forget an upload when another of them is asked.
        StatusCode::NOT_FOUND => Sent::Passing(answer.into_status_error().await, None),
        status if is_passing(status) => {
            let asked = answer.retry_after();
            Sent::Passing(answer.into_refusal().await, asked)
        }
        _ => Sent::Refused(answer.into_status_error().await),
    }
}

/// Makes the request with its streamed body, as long as something moves.
async fn exchange(
    client: &Client,
    mut request: reqwest::Request,
    body: StreamedBody,
    progress: &Progress,
) -> Result<(Answer, Option<HeaderValue>), RegistryError> {
    let shown = client.authorise(&mut request, &Access::Push).await?;
    let url = request.url().clone();
    let http = client.connections.client(&url)?;
    *request.body_mut() = Some(reqwest::Body::wrap(body));
    let patience = client.patience();
    tokio::select! {
        response = http.execute(request) => match response {
            Ok(response) => Ok((Answer::new(&Method::PUT, response, patience.standstill), shown)),
            Err(error) => Err(failure(&Method::PUT, &url, error)),
        },
        waited = progress.standstill(patience.standstill, patience.store) => {
            Err(standstill(&Method::PUT, &url, waited))
        }
    }
}

fn empty(method: Method, url: Url, access: Access) -> Request {
    // Some registries want to be told that nothing follows.
    Request::new(method, url, access).header(CONTENT_LENGTH, HeaderValue::from_static("0"))
}

/// Reads as much as a piece holds, or less at the end of the blob, of which `left` bytes remain.
fn read_piece(blob: &mut impl Read, left: &mut u64) -> io::Result<Bytes> {
    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(PIECE_BYTES);
    let mut piece = vec![0; length];
    // Fewer bytes than announced are an error that the reader itself tells.
    blob.read_exact(&mut piece)?;
    *left -= length as u64;
    Ok(Bytes::from(piece))
}

/// Is the body of a request, whose pieces come from another thread.
///
/// The last piece of a blob comes only after its digest was found right, so that a wrong blob is
/// never complete.
struct StreamedBody {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    remaining_bytes: u64,
    progress: Arc<Progress>,
}

impl Body for StreamedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let next = self.pieces.poll_recv(context);
        self.progress.note(next.is_pending(), self.remaining_bytes == 0);
        next.map(|next| match next {
            Some(Ok(piece)) => {
                self.remaining_bytes = self.remaining_bytes.saturating_sub(piece.len() as u64);
                self.progress.note(false, self.remaining_bytes == 0);
                Some(Ok(Frame::data(piece)))
            }
            Some(Err(error)) => Some(Err(error)),
            // The source has failed and nothing more comes: the request must not end well.
            None if self.remaining_bytes > 0 => Some(Err(io::ErrorKind::UnexpectedEof.into())),
            None => None,
        })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining_bytes)
    }
}

/// Tells whether an upload gets on.
struct Progress(Mutex<ProgressState>);

struct ProgressState {
    /// When the connection last asked for a piece.
    moved: Instant,
    /// Whether it waits for us.
    is_hungry: bool,
    /// Whether it has been handed everything.
    is_complete: bool,
}

impl Progress {
    fn new() -> Self {
        let moved = Instant::now();
        Self(Mutex::new(ProgressState { moved, is_hungry: false, is_complete: false }))
    }

    fn note(&self, is_hungry: bool, is_complete: bool) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = ProgressState { moved: Instant::now(), is_hungry, is_complete };
    }

    /// Waits until the registry has taken nothing for `sending`, or has not answered for `storing`
    /// after it has taken everything. Returns how long that was.
    async fn standstill(&self, sending: Duration, storing: Duration) -> Duration {
        loop {
            let left = {
                let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                let limit = if state.is_complete { storing } else { sending };
                match state.is_hungry {
                    true => sending,
                    false => match limit.checked_sub(state.moved.elapsed()) {
                        None | Some(Duration::ZERO) => return limit,
                        Some(left) => left,
                    },
                }
            };
            sleep(left).await;
        }
    }
}

/// How much is handed to the connection at once: hashed while it is in the second-level cache.
const PIECE_BYTES: usize = 256 << 10;

/// How many pieces wait for the connection, for each upload.
const PIECES_IN_FLIGHT: usize = 3;
