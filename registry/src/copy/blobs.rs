//! Blobs on their way, several at once.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::descriptor::Descriptor;
use crate::error::Error;
use crate::place::{BlobSource, Place, Repository};

/// Sees each blob on its way, to show progress for example.
pub type WatchBlob<'a> = &'a (dyn Fn(&Descriptor, Box<dyn Read>) -> Box<dyn Read> + Sync);

/// Does `work` on each of `blobs`, up to `parallel` of them at once if `to` takes several.
///
/// After the first error no other blob is begun, and the flag that `work` gets tells those that were
/// begun to stop.
///
/// # Errors
///
/// Returns the first error.
pub(crate) fn for_each_blob<E: Send>(
    mut blobs: Vec<Descriptor>,
    to: &dyn Place,
    parallel: usize,
    work: impl Fn(&Descriptor, &AtomicBool) -> Result<(), E> + Sync,
) -> Result<(), E> {
    // The largest come first, lest one of them is alone at the end. The order is always the same,
    // and so are archives that are written in it.
    blobs.sort_by_key(|blob| (blob.size, blob.digest));
    let workers = if to.is_sequential() { 1 } else { parallel.min(blobs.len()) };
    let queue = Mutex::new(blobs);
    let outcome = Mutex::new(Ok(()));
    let is_stopped = AtomicBool::new(false);
    let next = || {
        // A blob is taken whole or not at all, so a panic elsewhere leaves the queue whole.
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        if is_stopped.load(Ordering::Relaxed) { None } else { queue.pop() }
    };
    let run = || {
        while let Some(blob) = next() {
            if let Err(error) = work(&blob, &is_stopped) {
                let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
                // The others end because of the first, with errors that say nothing.
                if !is_stopped.swap(true, Ordering::Relaxed) {
                    *outcome = Err(error);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(run);
        }
        run();
    });
    outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Is a blob where it is copied from. Nothing is asked for before it is opened.
pub(crate) struct PlacedBlob<'a> {
    pub(crate) from: &'a dyn Place,
    pub(crate) blob: &'a Descriptor,
    pub(crate) watch: WatchBlob<'a>,
    /// Once this is set, nothing more is read.
    pub(crate) is_stopped: &'a AtomicBool,
}

impl BlobSource for PlacedBlob<'_> {
    fn open(&self) -> Result<Box<dyn Read + '_>, Error> {
        // It is hashed once: by the place that stores it.
        let content = self.from.blob(self.blob)?.without_hashing();
        let content = (self.watch)(self.blob, Box::new(content));
        Ok(Box::new(Stoppable { content, is_stopped: self.is_stopped }))
    }

    fn repository(&self) -> Option<Repository> {
        self.from.repository()
    }
}

/// Is a reader that fails once it shall not go on.
struct Stoppable<'a> {
    content: Box<dyn Read>,
    is_stopped: &'a AtomicBool,
}

impl Read for Stoppable<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_stopped.load(Ordering::Relaxed) {
            return Err(io::Error::other("another blob could not be copied"));
        }
        self.content.read(buffer)
    }
}

/// How many blobs are copied at once, unless there are fewer. Each takes about 1 MiB.
///
/// A registry flushes each blob to its disk before it answers: with four at once, in waves, an image
/// of 8 layers takes up to a third longer than with all of them under way.
pub const PARALLEL_BLOBS: usize = 8;
