//! `osguard copy`.

use std::io::{self, Write};

use osguard_registry::copy::copy;
use serde::Serialize;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};
use crate::transfer::{TransferArguments, TransferReport, print, watch};

/// Copy an image with its signatures and all else that is attached to it
///
/// Nothing of the image changes on the way, so its digest and its signatures stay. The tag is written last: an
/// interrupted copy shows nothing, and is completed by another one. What is there already is not copied again.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    transfer: TransferArguments,
}

#[derive(Serialize)]
struct CopyReport(TransferReport);

impl Report for CopyReport {
    const SCHEMA: &'static str = "osguard.copy.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.0.text(out)?;
        self.0.text_of_volume(out)
    }
}

pub(crate) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let transfer = arguments.transfer.find(output)?;
    let to = transfer.to()?;
    let progress = output.progress();
    let copied =
        copy(transfer.from(), &transfer.image, &*to.place, to.listing(), &watch(&progress))?;
    let report = CopyReport(transfer.report(&to, &copied, transfer.image.digest));
    print(&report, &to, output)?;
    report.0.check_complete()?;
    Ok(ExitStatus::Done)
}
