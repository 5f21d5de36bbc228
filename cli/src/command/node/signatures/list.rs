//! `osguard node signatures list`.

use std::io::{self, Write};

use libverity::digest::{Digest, RootHash};
use serde::Serialize;

use super::StoreArguments;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// List the signatures that are kept on this machine
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    store: StoreArguments,
}

#[derive(Serialize)]
struct ListReport {
    signatures: Vec<SignatureReport>,
}

#[derive(Serialize)]
struct SignatureReport {
    root_hash: RootHash,
    /// The digest of the signature.
    digest: Digest,
    size_bytes: usize,
}

impl Report for ListReport {
    const SCHEMA: &'static str = "osguard.node.signatures.list.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.signatures.is_empty() {
            writeln!(out, "No signatures are kept here")?;
        }
        for signature in &self.signatures {
            let SignatureReport { root_hash, digest, size_bytes } = signature;
            writeln!(out, "root hash {root_hash}  {digest}  {size_bytes} bytes")?;
        }
        Ok(())
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let listed = arguments.store.directory().list()?;
    let signatures = listed.into_iter().map(|(root_hash, signature)| SignatureReport {
        root_hash,
        digest: Digest::of(&signature),
        size_bytes: signature.len(),
    });
    output.report(&ListReport { signatures: signatures.collect() })?;
    Ok(ExitStatus::Done)
}
