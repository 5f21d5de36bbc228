//! The archive in a layer, read by somebody who makes no image of it.

use std::io::{self, BufRead, Read};

use super::stream::{stream, unwrap_or_read};
use super::{ExpectedLayer, LayerError, MAX_ARCHIVE_BYTES};
use crate::digest::Digest;
use crate::tar::{TarError, TarReader};

/// Reads `blob` to its end, checks it against what is `expected`, and gives the members of the archive
/// in it to `read`, which may leave as many of them as it likes.
///
/// What `read` returns is of use only where this returns no error: before the end nobody knows whether
/// the bytes are those that were expected.
///
/// # Errors
///
/// As [`convert`](super::convert), but for what only an image cannot have.
///
/// ```
/// use libverity::layer::{ExpectedLayer, read_archive};
///
/// let empty_archive = [0; 1024];
/// let read = read_archive(&empty_archive[..], &ExpectedLayer::default(), |members| {
///     Ok(members.next_entry()?.is_some())
/// })?;
/// assert!(!read.result);
/// # Ok::<(), libverity::layer::LayerError>(())
/// ```
pub fn read_archive<T: Send>(
    blob: impl Read,
    expected: &ExpectedLayer,
    read: impl FnOnce(&mut TarReader<&mut dyn BufRead>) -> Result<T, TarError> + Send,
) -> Result<ReadArchive<T>, LayerError> {
    expected.check_media_type()?;
    let streamed = stream(blob, expected, MAX_ARCHIVE_BYTES, |archive| {
        let mut members = TarReader::new(archive);
        let result = read(&mut members).map_err(LayerError::from_archive)?;
        io::copy(members.stream(), &mut io::sink()).map_err(unwrap_or_read)?;
        Ok(result)
    })?;
    Ok(ReadArchive { diff_id: streamed.diff_id, result: streamed.result })
}

/// Is what was made of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadArchive<T> {
    /// The digest of the archive.
    pub diff_id: Digest,
    /// What its reader returned.
    pub result: T,
}
