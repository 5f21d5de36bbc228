//! Events: what IPE said, with the system call in which it said so.

use std::collections::VecDeque;

use super::record::{Content, EventId, Record, SystemCall};

/// Is a record of IPE or dm-verity, with what the kernel wrote besides in the same event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The record.
    pub record: Record,
    /// The system call; none where system calls are not audited.
    pub system_call: Option<SystemCall>,
}

/// Joins records by their event.
///
/// The kernel writes a record of IPE at once, and that of the system call at its end, with others in between. Events
/// come out in the order in which they began, at the latest after [`PENDING_LIMIT`] others or when nothing comes any more. An
/// event that came twice, as from a journal that reads both the kernel's log and the audit system, comes out once.
#[derive(Debug, Default)]
pub struct Assembler {
    pending: VecDeque<Pending>,
    /// The records that came last, whether or not they are pending.
    recent: VecDeque<Record>,
}

#[derive(Debug)]
struct Pending {
    event: Event,
    is_complete: bool,
}

impl Assembler {
    /// Takes a record, and returns the events that are complete by it.
    pub fn push(&mut self, record: Record) -> impl Iterator<Item = Event> + '_ {
        match record {
            Record { id: Some(id), content: Content::SystemCall(call) } => {
                for pending in self.of_event(id) {
                    pending.event.system_call = Some(call.clone());
                }
            }
            Record { id: Some(id), content: Content::End } => {
                self.of_event(id).for_each(|pending| pending.is_complete = true);
            }
            // They say nothing without an event to which they belong.
            Record { id: None, content: Content::SystemCall(_) | Content::End } => {}
            record => self.begin(record),
        }
        std::iter::from_fn(|| {
            let is_full = self.pending.len() > PENDING_LIMIT;
            let is_due = self.pending.front().is_some_and(|pending| pending.is_complete || is_full);
            is_due.then(|| self.pending.pop_front()).flatten().map(|pending| pending.event)
        })
    }

    /// Returns all events that wait for more: nothing comes any more, or not for a while.
    pub fn flush(&mut self) -> impl Iterator<Item = Event> + '_ {
        self.pending.drain(..).map(|pending| pending.event)
    }

    fn begin(&mut self, record: Record) {
        if record.id.is_some() && self.recent.contains(&record) {
            return;
        }
        if self.recent.len() == PENDING_LIMIT {
            self.recent.pop_front();
        }
        self.recent.push_back(record.clone());
        let event = Event { record, system_call: None };
        self.pending.push_back(Pending { event, is_complete: false });
    }

    fn of_event(&mut self, id: EventId) -> impl Iterator<Item = &mut Pending> {
        self.pending.iter_mut().filter(move |pending| pending.event.record.id == Some(id))
    }
}

/// How many events wait for the record of their system call.
pub const PENDING_LIMIT: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(serial: u64, body: &str) -> Record {
        let line = format!("type={body}");
        let line = line.replacen(' ', &format!(" audit(1.000:{serial}): "), 1);
        Record::of_line(line.as_bytes()).unwrap().unwrap()
    }

    fn access(serial: u64, pid: u32) -> Record {
        record(serial, &format!("1420 ipe_op=EXECUTE ipe_hook=MMAP enforcing=1 pid={pid}"))
    }

    fn serials(events: impl Iterator<Item = Event>) -> Vec<(u64, Option<u32>)> {
        let shown = |event: Event| {
            (event.record.id.unwrap().serial, event.system_call.and_then(|call| call.parent))
        };
        events.map(shown).collect()
    }

    #[test]
    fn an_event_gets_its_system_call() {
        let mut assembler = Assembler::default();
        assert_eq!(assembler.push(access(1, 8)).count(), 0);
        assert_eq!(assembler.push(access(2, 9)).count(), 0);
        assert_eq!(assembler.push(record(2, "1300 ppid=5 pid=9")).count(), 0);
        assert_eq!(assembler.push(record(1, "1300 ppid=4 pid=8")).count(), 0);
        assert_eq!(serials(assembler.push(record(1, "1327 proctitle=\"x\""))), [(1, Some(4))]);
        assert_eq!(serials(assembler.flush()), [(2, Some(5))]);
        assert_eq!(assembler.flush().count(), 0);
    }

    #[test]
    fn memory_is_bounded_and_nothing_comes_twice() {
        let mut assembler = Assembler::default();
        let mut out = Vec::new();
        for serial in 0..1000 {
            out.extend(serials(assembler.push(access(serial, 1))));
            out.extend(serials(assembler.push(access(serial, 1))));
            assert!(assembler.pending.len() <= PENDING_LIMIT);
        }
        out.extend(serials(assembler.flush()));
        assert_eq!(out, (0..1000).map(|serial| (serial, None)).collect::<Vec<_>>());
    }

    #[test]
    fn records_without_an_event_are_not_taken_for_the_same() {
        let mut assembler = Assembler::default();
        let one = Record { id: None, ..access(1, 1) };
        let _ = assembler.push(one.clone()).count();
        let _ = assembler.push(one).count();
        assert_eq!(assembler.flush().count(), 2);
    }
}
