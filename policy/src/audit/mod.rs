//! Audit records: what the kernel denied, what was done to IPE, and what is to be done about it.
//!
//! ```text
//! bytes ─ LineReader ─ lines ─ Envelope ─ type, event, body ─ Record ─ Assembler ─ Event
//! ```
//!
//! [`reader`] finds the records of IPE and dm-verity in any log that has them, whichever of five
//! spellings it uses; [`event`] joins those that the kernel wrote about one system call; [`context`]
//! holds what is known besides, [`explain`] says why something was denied, and [`suggest`] the least
//! that would have to change. Nothing here asks the running system.
//!
//! Source: `security/ipe/audit.c`, `kernel/audit.c`, `kernel/auditsc.c`, `drivers/md/dm-audit.c`.

pub mod container;
pub mod context;
mod envelope;
pub mod event;
pub mod explain;
mod fields;
mod journal;
mod line_reader;
pub mod reader;
pub mod record;
pub mod remedy;
pub mod rule;
pub mod suggest;
