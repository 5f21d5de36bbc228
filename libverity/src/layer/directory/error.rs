//! Why there is no archive of a directory.

use std::io;
use std::path::PathBuf;

use crate::tar::EncodeError;

/// Says what in a directory cannot be archived. Paths are relative to the directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// A file is no longer what it was when it was found.
    #[error("{path} changed while it was read", path = path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A tar archive has no form for a file.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A file, or the directory itself, cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A socket exists as long as a program listens, and is nothing for an image.
    #[error("{path} is a socket, which no archive holds", path = path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
    },
    /// A file is of no type that is known.
    #[error("{path} is of an unknown type", path = path.display())]
    Type {
        /// The file.
        path: PathBuf,
    },
    /// A file that was in the directory is no longer there.
    #[error("{path} vanished while the directory was read", path = path.display())]
    Vanished {
        /// The file.
        path: PathBuf,
    },
}

impl From<DirectoryError> for io::Error {
    fn from(error: DirectoryError) -> Self {
        Self::other(error)
    }
}
