//! Progress bars, one a layer, on a terminal.

use std::io::Read;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows how far the work on several layers is; shows nothing where nobody looks.
pub(crate) struct Progress {
    bars: MultiProgress,
}

impl Progress {
    pub(crate) fn new(visible: bool) -> Self {
        let bars = MultiProgress::new();
        if !visible {
            bars.set_draw_target(ProgressDrawTarget::hidden());
        }
        Self { bars }
    }

    /// Counts what is read from `reader` on a bar of its own that ends at `total_bytes`.
    pub(crate) fn reading<R: Read>(
        &self,
        label: &str,
        total_bytes: u64,
        reader: R,
    ) -> impl Read + use<R> {
        self.bar(label, total_bytes).wrap_read(reader)
    }

    /// Shows a bar that ends at `total_bytes`, and returns what moves it on by so many bytes.
    pub(crate) fn counting(&self, label: &str, total_bytes: u64) -> impl FnMut(u64) + use<> {
        let bar = self.bar(label, total_bytes);
        move |bytes| bar.inc(bytes)
    }

    fn bar(&self, label: &str, total_bytes: u64) -> ProgressBar {
        let bar = ProgressBar::new(total_bytes).with_style(style()).with_message(label.to_owned());
        self.bars.add(bar)
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{msg:28} {bar:30} {bytes:>10} of {total_bytes} {eta:>4}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}
