//! Uploads: blobs that are sent in one piece while they are read, or in chunks where the registry
//! takes no pieces of that length.

mod body;
mod chunks;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::header::{CONTENT_LENGTH, HeaderName, HeaderValue, LOCATION};
use reqwest::{Method, StatusCode, Url};
use tokio::time::sleep;

use super::answer::Answer;
use super::authorization::Access;
use super::client::{Client, Request};
use super::error::RegistryError;
use super::patience::is_passing;
use super::runtime::wait;
use crate::blob::BlobReader;
use crate::descriptor::Descriptor;
use crate::error::Error;
use crate::place::{BlobSource, PendingBlob, Pushed};

/// Stores a blob that the repository does not have: by taking it from another repository of the
/// registry, or by sending it.
///
/// It is sent in one piece, unless the registry or what is in front of it has refused that once for
/// its length (413, 416): then in chunks. An upload that is cut off is started again from its
/// beginning, which is the only way that all registries agree on. At most four pieces of 256 KiB
/// are in memory.
pub(super) fn upload(
    client: &Arc<Client>,
    descriptor: &Descriptor,
    source: &dyn BlobSource,
) -> Result<Pushed, Error> {
    let origin = source.repository().filter(|origin| {
        origin.registry == client.registry() && origin.name != client.repository()
    });
    let session = match origin {
        Some(origin) => match wait(mount(client, descriptor, &origin.name))? {
            Mounted::Stored => return Ok(Pushed::Stored),
            Mounted::Session(session) => session,
        },
        None => wait(open(client))?,
    };
    complete(client, descriptor, source, session)
}

/// Is an upload that was opened before the blob was known; it is given up when it is dropped.
pub(super) struct PendingUpload {
    client: Arc<Client>,
    session: Option<Session>,
}

impl PendingUpload {
    pub(super) fn open(client: &Arc<Client>) -> Result<Self, RegistryError> {
        let session = Some(wait(open(client))?);
        Ok(Self { client: Arc::clone(client), session })
    }
}

impl PendingBlob for PendingUpload {
    fn store(
        mut self: Box<Self>,
        descriptor: &Descriptor,
        source: &dyn BlobSource,
    ) -> Result<Pushed, Error> {
        let session = match self.session.take() {
            Some(session) => session,
            None => wait(open(&self.client))?,
        };
        complete(&self.client, descriptor, source, session)
    }
}

impl Drop for PendingUpload {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            wait(cancel(&self.client, session.url));
        }
    }
}

/// Sends a blob by an upload that is open, and by others if it is cut off.
fn complete(
    client: &Arc<Client>,
    descriptor: &Descriptor,
    source: &dyn BlobSource,
    mut session: Session,
) -> Result<Pushed, Error> {
    let mut attempt = 1;
    let mut was_challenged = false;
    loop {
        let in_chunks = client.sends_chunks.load(Ordering::Relaxed);
        let (error, pause): (Error, _) = match send(client, descriptor, source, &mut session) {
            Ok(()) => return Ok(Pushed::Stored),
            // The token has run out while others were sent; the next one is at hand.
            Err(Failed::Challenged(error)) => {
                let is_first = !std::mem::replace(&mut was_challenged, true);
                ((*error).into(), is_first.then_some(Duration::ZERO))
            }
            Err(Failed::Passing(error, asked)) => {
                ((*error).into(), client.patience().pause(attempt, asked))
            }
            Err(Failed::Refused(error)) => ((*error).into(), None),
            Err(Failed::Source(error)) => (error, None),
            Err(Failed::TooLong(error)) => {
                client.sends_chunks.store(true, Ordering::Relaxed);
                ((*error).into(), (!in_chunks).then_some(Duration::ZERO))
            }
        };
        wait(cancel(client, session.url));
        match pause {
            Some(pause) => wait(async { sleep(pause).await }),
            None => return Err(error),
        }
        attempt += 1;
        session = wait(open(client))?;
    }
}

/// Is an upload that is open.
struct Session {
    /// Where what comes next is sent to.
    url: Url,
    /// The shortest chunk that the registry takes, but for the last one, in bytes.
    min_chunk_bytes: u64,
}

enum Mounted {
    Session(Session),
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
async fn open(client: &Client) -> Result<Session, RegistryError> {
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

fn session(answer: &Answer) -> Result<Session, RegistryError> {
    let min_chunk_bytes = answer.header(MIN_CHUNK_LENGTH).and_then(|text| text.parse().ok());
    Ok(Session { url: location(answer)?, min_chunk_bytes: min_chunk_bytes.unwrap_or_default() })
}

/// Returns where an upload goes on.
fn location(answer: &Answer) -> Result<Url, RegistryError> {
    let location = answer
        .header(LOCATION)
        .ok_or_else(|| answer.nonsense("an upload is open, and it is not said where"))?;
    match answer.full_url().join(location) {
        Ok(url) if url.scheme() == answer.full_url().scheme() || url.scheme() == "https" => Ok(url),
        _ => Err(answer.nonsense("an upload goes on at what is no web address, or leaves TLS")),
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

/// Says why a blob, or a part of one, is not stored.
enum Failed {
    /// The registry wants to see other authorisation, which is at hand now.
    Challenged(Box<RegistryError>),
    /// It failed in a way that may pass; the registry may have asked to wait.
    Passing(Box<RegistryError>, Option<Duration>),
    /// It failed for good.
    Refused(Box<RegistryError>),
    /// The source is not what it should be, or cannot be read.
    Source(Error),
    /// The registry does not take so much at once.
    TooLong(Box<RegistryError>),
}

impl Failed {
    fn by(error: RegistryError) -> Self {
        match error.is_worth_another_attempt() {
            true => Self::Passing(error.into(), None),
            false => Self::Refused(error.into()),
        }
    }
}

/// Sends the blob once.
fn send(
    client: &Arc<Client>,
    descriptor: &Descriptor,
    source: &dyn BlobSource,
    session: &mut Session,
) -> Result<(), Failed> {
    let object = format!("blob {} for {}", descriptor.digest, client.place_name());
    let mut content = source.open().map_err(Failed::Source)?;
    let content: &mut dyn Read = &mut *content;
    let mut blob = BlobReader::new(content, object.clone(), descriptor.digest, descriptor.size);
    if descriptor.size == 0 {
        // There is no last piece that would be held back if the source had more.
        blob.read(&mut [0]).map_err(|error| Failed::Source(Error::from_read(&object, error)))?;
    }
    let mut left = descriptor.size;
    if client.sends_chunks.load(Ordering::Relaxed) {
        chunks::send(client, &mut blob, descriptor.size, session, &object)?;
        left = 0;
    }
    let mut url = session.url.clone();
    url.query_pairs_mut().append_pair("digest", &descriptor.digest.to_string());
    // Not all registries say where the blob is now: its digest does.
    body::send(client, reqwest::Request::new(Method::PUT, url), &mut blob, left, &object)?;
    Ok(())
}

/// Tells what the answer to a part of a blob means.
async fn judge(
    client: &Client,
    mut answer: Answer,
    shown: Option<&HeaderValue>,
) -> Result<Answer, Failed> {
    Err(match answer.status() {
        status if status.is_success() => return Ok(answer),
        StatusCode::UNAUTHORIZED => {
            match client.challenged(&mut answer, &Access::Push, shown).await {
                Ok(_) => {
                    Failed::Challenged(client.unauthorized(&mut answer, &Access::Push).await.into())
                }
                Err(error) => Failed::Refused(error.into()),
            }
        }
        StatusCode::FORBIDDEN => Failed::Refused(client.denied(answer, &Access::Push).await.into()),
        status if status.is_redirection() => Failed::Refused(answer.into_redirected().into()),
        // Registries behind a balancer forget an upload when another of them is asked.
        StatusCode::NOT_FOUND => Failed::Passing(answer.into_status_error().await.into(), None),
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::RANGE_NOT_SATISFIABLE => {
            Failed::TooLong(answer.into_status_error().await.into())
        }
        status if is_passing(status) => {
            let asked = answer.retry_after();
            Failed::Passing(answer.into_refusal().await.into(), asked)
        }
        _ => Failed::Refused(answer.into_status_error().await.into()),
    })
}

fn empty(method: Method, url: Url, access: Access) -> Request {
    // Some registries want to be told that nothing follows.
    Request::new(method, url, access).header(CONTENT_LENGTH, HeaderValue::from_static("0"))
}

/// By this header a registry says how long chunks have to be.
///
/// Source: OCI distribution specification, "Pushing a blob in chunks".
const MIN_CHUNK_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");
