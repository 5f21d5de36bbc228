//! What the kernel says in its log while something is asked of it (`/dev/kmsg`, `Documentation/ABI/testing/dev-kmsg`).
//!
//! The device mapper, overlayfs and EROFS answer with a bare error number and put the reason into the log.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

/// Is a place in the kernel's log, from which on it is read.
#[derive(Debug)]
pub struct KernelLog(Option<File>);

impl KernelLog {
    /// Marks the end of the log as it is now. Where the log may not be read, it stays empty.
    pub fn from_here() -> Self {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(KMSG);
        Self(file.ok().and_then(|mut file| file.seek(SeekFrom::End(0)).ok().map(|_| file)))
    }

    /// Reads the messages since the mark that start with `prefix`, such as `overlayfs: `.
    ///
    /// Others may cause messages with this prefix at the same time.
    pub fn messages(&mut self, prefix: &str) -> KernelMessages {
        let mut messages = KernelMessages::default();
        let Some(file) = &mut self.0 else { return messages };
        let mut record = [0; RECORD_LIMIT_BYTES];
        // One read gives one record. Nothing more is there, or records were lost: both end it.
        while let Ok(length) = file.read(&mut record) {
            let text = String::from_utf8_lossy(&record[..length]);
            if let Some(message) = message(&text).filter(|message| message.starts_with(prefix)) {
                messages.push(message);
            }
        }
        messages
    }
}

/// Holds what the kernel said about a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelMessages(Vec<String>);

impl KernelMessages {
    /// Returns the messages, the oldest first.
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }

    /// Tells whether `words` are in one of the messages.
    pub fn mention(&self, words: &str) -> bool {
        self.0.iter().any(|message| message.contains(words))
    }

    /// Adds a message, unless there are [`MESSAGE_LIMIT`] already.
    pub(crate) fn push(&mut self, message: &str) {
        if self.0.len() < MESSAGE_LIMIT {
            self.0.push(message.to_owned());
        }
    }

    /// Adds the messages of `more`.
    pub(crate) fn append(&mut self, more: &Self) {
        more.0.iter().for_each(|message| self.push(message));
    }
}

impl fmt::Display for KernelMessages {
    /// Writes the tail of a sentence, or nothing where the kernel said nothing.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(formatter, "; the kernel says: {}", self.0.join("; "))
    }
}

/// Takes the text out of `6,339,5140900,-;message\n KEY=value\n`.
fn message(record: &str) -> Option<&str> {
    let (_, text) = record.split_once(';')?;
    text.lines().next()
}

const KMSG: &str = "/dev/kmsg";

/// The longest record (`kernel/printk/internal.h`, `PRINTK_MESSAGE_MAX`, 2048) with room for older kernels' 8 KiB.
const RECORD_LIMIT_BYTES: usize = 8192;

/// More would bury the error that they explain.
const MESSAGE_LIMIT: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_taken_out_of_a_record() {
        let record = "3,912,2804965617,-;overlayfs: a; b\n SUBSYSTEM=block\n DEVICE=b254:0\n";
        assert_eq!(message(record), Some("overlayfs: a; b"));
        assert_eq!(message("no record"), None);
    }

    #[test]
    fn messages_are_limited_and_joined() {
        let mut messages = KernelMessages::default();
        assert_eq!(messages.to_string(), "");
        for _ in 0..100 {
            messages.push("a");
        }
        assert_eq!(messages.as_slice().len(), MESSAGE_LIMIT);
        assert!(messages.to_string().starts_with("; the kernel says: a; a"));
    }

    #[test]
    fn only_what_comes_after_the_mark_is_read() {
        let mut log = KernelLog::from_here();
        assert_eq!(log.messages("osguard-test-that-nobody-logs"), KernelMessages::default());
    }
}
