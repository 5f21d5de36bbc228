//! What was put into a directory of signatures.

use std::io::{self, Write};

use osguard_node::containerd::signature_directory::SignatureDirectory;
use osguard_registry::artifact::LayerSignature;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::Report;

/// Counts the signatures that were put there.
#[derive(Serialize)]
pub(super) struct AddedReport {
    /// How many are new.
    added: usize,
    /// How many were there before.
    known: usize,
}

impl AddedReport {
    /// Puts `signatures` into `directory`.
    pub(super) fn of<'a>(
        directory: &SignatureDirectory,
        signatures: impl IntoIterator<Item = &'a LayerSignature>,
    ) -> Result<Self, Failure> {
        let mut report = Self { added: 0, known: 0 };
        for LayerSignature { claim, signature } in signatures {
            match directory.add(&claim.root_hash, signature)? {
                true => report.added += 1,
                false => report.known += 1,
            }
        }
        Ok(report)
    }
}

impl Report for AddedReport {
    const SCHEMA: &'static str = "osguard.node.signatures.added.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "Added {} signatures; {} were there already", self.added, self.known)
    }
}
