//! Downloads: blobs that are read while they come, and go on where they were cut off.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use libverity::digest::Digest;
use reqwest::header::{CONTENT_RANGE, HeaderValue, RANGE};
use reqwest::{Method, StatusCode};
use tokio::time::sleep;

use super::answer::Answer;
use super::authorization::Access;
use super::client::{Client, Request};
use super::error::RegistryError;
use super::runtime::wait;
use crate::descriptor::Descriptor;
use crate::error::Error;

/// Reads the body of a blob. What comes is neither counted nor hashed here.
#[derive(Debug)]
pub(super) struct Download {
    client: Arc<Client>,
    digest: Digest,
    size_bytes: u64,
    answer: Option<Answer>,
    /// What has come and was not read yet.
    piece: Bytes,
    /// How much has come, in bytes.
    received_bytes: u64,
    /// How often the download was started without anything coming of it.
    attempt: u32,
}

impl Download {
    /// Asks for the blob `descriptor`; its bytes come while they are read.
    ///
    /// # Errors
    ///
    /// Returns [`Error::NoSuchBlob`], or [`Error::SizeDiffers`] if the registry announces another
    /// length.
    pub(super) fn start(client: Arc<Client>, descriptor: &Descriptor) -> Result<Self, Error> {
        let mut download = Self {
            client,
            digest: descriptor.digest,
            size_bytes: descriptor.size,
            answer: None,
            piece: Bytes::new(),
            received_bytes: 0,
            attempt: 1,
        };
        wait(download.ask())?;
        Ok(download)
    }

    /// Asks for what is still missing.
    async fn ask(&mut self) -> Result<(), Error> {
        let url = self.client.url(&format!("blobs/{}", self.digest)).await?;
        let mut request = Request::new(Method::GET, url, Access::Pull);
        if self.received_bytes > 0 {
            let range = format!("bytes={}-", self.received_bytes);
            let range = HeaderValue::try_from(range).map_err(|_| self.missing())?;
            request = request.header(RANGE, range);
        }
        let mut answer = self.client.send(&request).await?;
        let passed_over = match answer.status() {
            StatusCode::OK => {
                self.check_length(&answer, self.size_bytes)?;
                self.received_bytes
            }
            StatusCode::PARTIAL_CONTENT if self.received_bytes > 0 => {
                self.check_length(&answer, self.size_bytes - self.received_bytes)?;
                let expected = format!("bytes {}-", self.received_bytes);
                if !answer.header(CONTENT_RANGE).is_some_and(|range| range.starts_with(&expected)) {
                    return Err(answer.nonsense("it is not the range that was asked for").into());
                }
                0
            }
            StatusCode::NOT_FOUND => {
                return Err(match answer.words().await {
                    words if words.has_code("NAME_UNKNOWN") => {
                        self.client.no_such_repository(words).into()
                    }
                    _ => self.missing(),
                });
            }
            _ => return Err(answer.into_status_error().await.into()),
        };
        self.pass_over(&mut answer, passed_over).await?;
        self.answer = Some(answer);
        Ok(())
    }

    /// Reads what came before already, from a registry that knows no ranges.
    async fn pass_over(&mut self, answer: &mut Answer, mut left: u64) -> Result<(), Error> {
        while left > 0 {
            let Some(mut chunk) = answer.chunk().await? else { return Ok(()) };
            let known = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
            chunk.advance(known);
            left -= known as u64;
            self.received_bytes += chunk.len() as u64;
            self.piece = chunk;
        }
        Ok(())
    }

    /// Waits for the next piece; an empty one is the end.
    async fn next(&mut self) -> Result<Bytes, Error> {
        loop {
            let error: Error = match &mut self.answer {
                None => match self.ask().await {
                    Ok(()) if self.piece.is_empty() => continue,
                    Ok(()) => return Ok(std::mem::take(&mut self.piece)),
                    Err(error) => error,
                },
                Some(answer) => match answer.chunk().await {
                    Ok(Some(chunk)) if chunk.is_empty() => continue,
                    Ok(Some(chunk)) => {
                        self.received_bytes += chunk.len() as u64;
                        self.attempt = 1;
                        return Ok(chunk);
                    }
                    Ok(None) if self.received_bytes >= self.size_bytes => return Ok(Bytes::new()),
                    // It ends early, and politely.
                    Ok(None) => self.too_short(),
                    Err(error) => error.into(),
                },
            };
            self.answer = None;
            match self.client.patience().pause(self.attempt, None) {
                Some(pause) if self.is_worth_another_attempt(&error) => sleep(pause).await,
                _ => return Err(error),
            }
            self.attempt += 1;
        }
    }

    fn is_worth_another_attempt(&self, error: &Error) -> bool {
        match error {
            Error::Registry(error) => error.is_worth_another_attempt(),
            Error::SizeDiffers { found_bytes, .. } => *found_bytes < self.size_bytes,
            _ => false,
        }
    }

    fn check_length(&self, answer: &Answer, expected: u64) -> Result<(), Error> {
        match answer.content_length() {
            Some(found) if found != expected => Err(Error::SizeDiffers {
                object: self.object(),
                expected_bytes: self.size_bytes,
                found_bytes: (self.size_bytes - expected).saturating_add(found),
            }),
            _ => Ok(()),
        }
    }

    fn too_short(&self) -> Error {
        Error::SizeDiffers {
            object: self.object(),
            expected_bytes: self.size_bytes,
            found_bytes: self.received_bytes,
        }
    }

    fn missing(&self) -> Error {
        Error::NoSuchBlob {
            place: self.client.place_name(),
            object: format!("blob {}", self.digest),
        }
    }

    fn object(&self) -> String {
        format!("blob {} from {}", self.digest, self.client.place_name())
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            self.piece = wait(self.next())?;
        }
        let length = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

impl From<RegistryError> for Error {
    fn from(error: RegistryError) -> Self {
        Self::Registry(Box::new(error))
    }
}
