//! Bodies of uploads: pieces that one thread reads and another one sends, as long as they move.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::super::answer::Answer;
use super::super::authorization::Access;
use super::super::client::Client;
use super::super::connections::{failure, standstill};
use super::super::error::RegistryError;
use super::super::runtime::{spawn, wait};
use super::{Failed, judge};
use crate::blob::BlobReader;
use crate::error::Error;

/// Sends the next `length_bytes` of `blob` as the body of `request`, and returns the registry's
/// consent.
pub(super) fn send(
    client: &Arc<Client>,
    mut request: reqwest::Request,
    blob: &mut BlobReader<&mut dyn Read>,
    length_bytes: u64,
    object: &str,
) -> Result<Answer, Failed> {
    let octets = HeaderValue::from_static("application/octet-stream");
    request.headers_mut().insert(CONTENT_TYPE, octets);
    request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length_bytes));
    let (pieces, receiver) = mpsc::channel(PIECES_IN_FLIGHT);
    let progress = Arc::new(Progress::new());
    let body = StreamedBody {
        pieces: receiver,
        remaining_bytes: length_bytes,
        progress: Arc::clone(&progress),
    };
    let task = spawn(exchange(Arc::clone(client), request, body, progress));
    let mut outcome = Ok(());
    let mut left = length_bytes;
    let buffers = Buffers::default();
    loop {
        match read_piece(blob, &mut left, &buffers) {
            Ok(piece) if piece.is_empty() => break,
            Ok(piece) => {
                // Nobody takes the rest of a blob that the registry has refused.
                if pieces.blocking_send(Ok(piece)).is_err() {
                    break;
                }
            }
            Err(error) => {
                let _ = pieces.blocking_send(Err(io::Error::other("the source has failed")));
                outcome = Err(Failed::Source(Error::from_read(object, error)));
                break;
            }
        }
    }
    drop(pieces);
    let sent = wait(task);
    outcome?;
    match sent {
        Ok(sent) => sent,
        Err(error) => Err(Failed::by(RegistryError::Runtime { source: error.into() })),
    }
}

/// Makes the request with its streamed body, as long as something moves.
async fn exchange(
    client: Arc<Client>,
    mut request: reqwest::Request,
    body: StreamedBody,
    progress: Arc<Progress>,
) -> Result<Answer, Failed> {
    let shown = client.authorise(&mut request, &Access::Push).await.map_err(Failed::by)?;
    let (method, url) = (request.method().clone(), request.url().clone());
    let http = client.connections.client(&url).map_err(Failed::by)?;
    *request.body_mut() = Some(reqwest::Body::wrap(body));
    let patience = client.patience();
    let response = tokio::select! {
        response = http.execute(request) => {
            response.map_err(|error| Failed::by(failure(&method, &url, error)))?
        }
        waited = progress.standstill(patience.standstill, patience.store) => {
            return Err(Failed::by(standstill(&method, &url, waited)));
        }
    };
    let answer = Answer::new(&method, response, patience.standstill);
    judge(&client, answer, shown.as_ref()).await
}

/// Reads as much as a piece holds, or less at the end of the blob, of which `left` bytes remain.
fn read_piece(blob: &mut impl Read, left: &mut u64, buffers: &Buffers) -> io::Result<Bytes> {
    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(PIECE_BYTES);
    let mut piece = buffers.take();
    piece.bytes.resize(length, 0);
    // Fewer bytes than announced are an error that the reader itself tells.
    blob.read_exact(&mut piece.bytes)?;
    *left -= length as u64;
    Ok(Bytes::from_owner(piece))
}

/// Holds the buffers of pieces that were sent, for the next ones: memory that is fresh from the
/// system has to be cleared, and misses the cache.
#[derive(Clone, Default)]
struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    fn take(&self) -> Piece {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Piece { bytes: bytes.unwrap_or_default(), buffers: self.clone() }
    }
}

/// Is a part of a blob in a buffer that goes back when nobody needs it any more.
struct Piece {
    bytes: Vec<u8>,
    buffers: Buffers,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.buffers.0.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
    }
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
