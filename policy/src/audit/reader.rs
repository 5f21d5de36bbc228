//! Records out of a stream of lines.

use std::io::{self, Read};

use super::envelope::Envelope;
use super::journal;
use super::line_reader::{Line, LineReader};
use super::record::{MalformedRecord, Record};

/// Reads records from any log that has them, in constant memory: the kernel's, auditd's, a journal's, as text or as JSON.
///
/// A source that says [`WouldBlock`](io::ErrorKind::WouldBlock) has nothing at the moment, and reading goes on later.
#[derive(Debug)]
pub struct Reader<R> {
    lines: LineReader<R>,
    counts: Counts,
}

/// Is what comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing will come any more.
    End,
    /// Nothing is there at the moment.
    Idle,
    /// A record of IPE that is not as the kernel writes it.
    Malformed(MalformedRecord),
    /// A record that matters here.
    Record(Record),
}

/// Counts what was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines.
    pub lines: u64,
    /// Lines that are records, also of other parts of the kernel.
    pub records: u64,
    /// Lines that were too long to be records, and left out.
    pub too_long: u64,
    /// Records of IPE that are not as the kernel writes them.
    pub malformed: u64,
}

impl<R: Read> Reader<R> {
    /// Reads from `source`.
    pub fn new(source: R) -> Self {
        Self { lines: LineReader::new(source), counts: Counts::default() }
    }

    /// Returns the source.
    pub fn source(&self) -> &R {
        self.lines.source()
    }

    /// Returns what was read so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Reads on to the next record that matters.
    ///
    /// # Errors
    ///
    /// Fails when the source does.
    pub fn next_record(&mut self) -> io::Result<Next> {
        loop {
            let record = match self.lines.next()? {
                Line::End => return Ok(Next::End),
                Line::Idle => return Ok(Next::Idle),
                Line::TooLong => {
                    self.counts.lines += 1;
                    self.counts.too_long += 1;
                    continue;
                }
                Line::Text(line) => {
                    self.counts.lines += 1;
                    let envelope = match line.trim_ascii_start().starts_with(b"{") {
                        true => journal::envelope(line),
                        false => Envelope::of_line(line),
                    };
                    let Some(envelope) = envelope else { continue };
                    self.counts.records += 1;
                    Record::of_envelope(&envelope)
                }
            };
            match record {
                Ok(Some(record)) => return Ok(Next::Record(record)),
                Ok(None) => {}
                Err(malformed) => {
                    self.counts.malformed += 1;
                    return Ok(Next::Malformed(malformed));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::record::Content;

    #[test]
    fn records_are_found_among_other_lines() {
        let long = "x".repeat(1 << 20);
        let text = format!(
            "junk\0\u{1}\n{long}\n\
             [    1.0] audit: type=2000 audit(0.000:1): state=initialized\n\
             type=1420 audit(1.000:2): ipe_op=EXECUTE\n\
             {{\"_TRANSPORT\":\"audit\",\"MESSAGE\":\"IPE_ACCESS ipe_op=EXECUTE ipe_hook=MMAP enforcing=1\"}}\n\
             type=1420 audit(1.000:3): ipe_op=EXECUTE ipe_hook=MMAP enforcing=1"
        );
        let mut reader = Reader::new(text.as_bytes());
        assert!(matches!(reader.next_record().unwrap(), Next::Malformed(_)));
        for serial in [None, Some(3)] {
            let Next::Record(record) = reader.next_record().unwrap() else { panic!("a record") };
            assert_eq!(record.id.map(|id| id.serial), serial);
            assert!(matches!(record.content, Content::Access(_)));
        }
        assert_eq!(reader.next_record().unwrap(), Next::End);
        let counts = Counts { lines: 6, records: 4, too_long: 1, malformed: 1 };
        assert_eq!(reader.counts(), counts);
    }
}
