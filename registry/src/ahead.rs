//! Several layers of an image at once.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use libverity::digest::Digest;

use crate::conversion::Watch;
use crate::image::ImageLayer;

/// Does `work` on `layers`, several at a time, and lets `consume` take the results one by one.
///
/// `consume` gets a function that returns the result for a layer, and waits for it where that is
/// not there yet. The work is done in the order of the layers, once for each digest, by at most
/// [`PARALLEL_LAYERS`] threads and no more than there are processors; a result that is asked for
/// again is worked out again.
///
/// After the first error nothing more is begun or read, and whoever asks for any layer gets that
/// error. The same ends the work when `consume` returns.
pub fn ahead<T: Send, E: Send, R>(
    layers: &[ImageLayer],
    watch: Watch<'_>,
    work: impl Fn(&ImageLayer, Watch<'_>) -> Result<T, E> + Sync,
    consume: impl FnOnce(&mut dyn FnMut(&ImageLayer) -> Result<T, E>) -> R,
) -> R {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = PARALLEL_LAYERS.min(processors);
    ahead_on(threads, layers, watch, work, consume)
}

fn ahead_on<T: Send, E: Send, R>(
    threads: usize,
    layers: &[ImageLayer],
    watch: Watch<'_>,
    work: impl Fn(&ImageLayer, Watch<'_>) -> Result<T, E> + Sync,
    consume: impl FnOnce(&mut dyn FnMut(&ImageLayer) -> Result<T, E>) -> R,
) -> R {
    let threads = threads.min(layers.len());
    if threads <= 1 {
        return consume(&mut |layer| work(layer, watch));
    }
    let is_stopped = Arc::new(AtomicBool::new(false));
    let watch = |layer: &ImageLayer, blob| -> Box<dyn Read> {
        let blob = watch(layer, blob);
        Box::new(Stoppable { blob, is_stopped: Arc::clone(&is_stopped) })
    };
    let work = |layer: &ImageLayer| work(layer, &watch);
    let results = Results::new(layers, &is_stopped);
    thread::scope(|scope| {
        let _stopped_at_the_end = Stop(&results);
        for _ in 0..threads {
            scope.spawn(|| results.run(&work));
        }
        consume(&mut |layer| results.wait(layer).unwrap_or_else(|| work(layer)))
    })
}

/// Holds what is to be done and what has come of it.
struct Results<'a, T, E> {
    state: Mutex<State<'a, T, E>>,
    changed: Condvar,
    is_stopped: &'a AtomicBool,
}

struct State<'a, T, E> {
    /// The last one is next.
    queue: Vec<&'a ImageLayer>,
    /// `None` while it is worked on; what was taken is gone.
    results: BTreeMap<Digest, Option<T>>,
    failure: Option<E>,
    has_panicked: bool,
}

impl<'a, T, E> Results<'a, T, E> {
    fn new(layers: &'a [ImageLayer], is_stopped: &'a AtomicBool) -> Self {
        let mut queue: Vec<&ImageLayer> = Vec::new();
        let mut results = BTreeMap::new();
        for layer in layers {
            if results.insert(layer.descriptor.digest, None).is_none() {
                queue.push(layer);
            }
        }
        queue.reverse();
        let state = State { queue, results, failure: None, has_panicked: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), is_stopped }
    }

    /// Works until nothing is left to do.
    fn run(&self, work: &impl Fn(&ImageLayer) -> Result<T, E>) {
        let panic = PanicNotice(self);
        while let Some(layer) = self.next() {
            let result = work(layer);
            let mut state = self.lock();
            match result {
                Ok(result) => {
                    state.results.insert(layer.descriptor.digest, Some(result));
                }
                // The others end because of the first, with errors that say nothing.
                Err(_) if self.is_stopped.load(Ordering::Relaxed) => {}
                Err(error) => {
                    state.failure = Some(error);
                    self.is_stopped.store(true, Ordering::Relaxed);
                }
            }
            drop(state);
            self.changed.notify_all();
        }
        drop(panic);
    }

    fn next(&self) -> Option<&'a ImageLayer> {
        let mut state = self.lock();
        if self.is_stopped.load(Ordering::Relaxed) { None } else { state.queue.pop() }
    }

    /// Takes the result for `layer`, or the first error; `None` if it was taken before.
    fn wait(&self, layer: &ImageLayer) -> Option<Result<T, E>> {
        let digest = layer.descriptor.digest;
        let mut state = self.lock();
        loop {
            assert!(!state.has_panicked, "the work on a layer has panicked");
            if let Some(error) = state.failure.take() {
                return Some(Err(error));
            }
            if state.results.get(&digest)?.is_some() {
                return state.results.remove(&digest).flatten().map(Ok);
            }
            if self.is_stopped.load(Ordering::Relaxed) {
                // The error was taken before.
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<'a, T, E>> {
        // Nothing is done under the lock that could panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the work when it is dropped.
struct Stop<'a, 'b, T, E>(&'a Results<'b, T, E>);

impl<T, E> Drop for Stop<'_, '_, T, E> {
    fn drop(&mut self) {
        self.0.is_stopped.store(true, Ordering::Relaxed);
    }
}

/// Wakes up whoever waits for a thread that panics.
struct PanicNotice<'a, 'b, T, E>(&'a Results<'b, T, E>);

impl<T, E> Drop for PanicNotice<'_, '_, T, E> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.lock().has_panicked = true;
            self.0.changed.notify_all();
        }
    }
}

/// Is the blob of a layer, which ends with an error once the work has stopped.
struct Stoppable {
    blob: Box<dyn Read>,
    is_stopped: Arc<AtomicBool>,
}

impl Read for Stoppable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_stopped.load(Ordering::Relaxed) {
            return Err(io::Error::other("the work on another layer has failed"));
        }
        self.blob.read(buffer)
    }
}

/// How many layers are converted at once, at most. Each takes what [`libverity::layer`] says of
/// memory, and four threads of which one waits for most of the time.
pub const PARALLEL_LAYERS: usize = 4;

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::descriptor::Descriptor;
    use crate::media_type::MediaType;

    fn layers(contents: &[&str]) -> Vec<ImageLayer> {
        let layer = |content: &&str| ImageLayer {
            descriptor: Descriptor::of(MediaType::OCI_LAYER, content.as_bytes()),
            diff_id: Digest::of(content.as_bytes()),
        };
        contents.iter().map(layer).collect()
    }

    fn unwatched(_: &ImageLayer, blob: Box<dyn Read>) -> Box<dyn Read> {
        blob
    }

    #[test]
    fn results_come_for_each_layer_whatever_is_ready_first() {
        let layers = layers(&["a", "b", "a", "c", "d"]);
        for threads in [1, 2, 8] {
            let begun = AtomicUsize::new(0);
            let work = |layer: &ImageLayer, _: Watch<'_>| -> Result<Digest, ()> {
                begun.fetch_add(1, Ordering::Relaxed);
                Ok(layer.diff_id)
            };
            let taken = ahead_on(threads, &layers, &unwatched, work, |result| {
                layers.iter().rev().map(|layer| result(layer).unwrap()).collect::<Vec<_>>()
            });
            assert!(taken.iter().eq(layers.iter().rev().map(|layer| &layer.diff_id)));
            assert_eq!(begun.into_inner(), 5, "the one that is there twice is asked for twice");
        }
    }

    #[test]
    fn two_are_worked_on_at_once() {
        let layers = layers(&["a", "b"]);
        let both = Barrier::new(2);
        let work =
            |_: &ImageLayer, _: Watch<'_>| -> Result<bool, ()> { Ok(both.wait().is_leader()) };
        let leaders = ahead_on(2, &layers, &unwatched, work, |result| {
            layers.iter().filter(|layer| result(layer).unwrap()).count()
        });
        assert_eq!(leaders, 1);
    }

    #[test]
    fn the_first_error_stops_the_others_and_is_the_one_that_is_told() {
        let layers = layers(&["endless", "bad", "never begun", "never begun either"]);
        let begun = AtomicUsize::new(0);
        let work = |layer: &ImageLayer, watch: Watch<'_>| -> Result<(), String> {
            begun.fetch_add(1, Ordering::Relaxed);
            if layer.diff_id == Digest::of(b"bad") {
                return Err("the layer is bad".to_owned());
            }
            let mut blob = watch(layer, Box::new(io::repeat(0)));
            io::copy(&mut blob, &mut io::sink()).map(drop).map_err(|error| error.to_string())
        };
        let error = ahead_on(2, &layers, &unwatched, work, |result| result(&layers[0]));
        assert_eq!(error.unwrap_err(), "the layer is bad");
        assert_eq!(begun.into_inner(), 2);
    }

    #[test]
    fn who_loses_interest_ends_the_work() {
        let layers = layers(&["endless", "endless as well"]);
        let work = |layer: &ImageLayer, watch: Watch<'_>| {
            io::copy(&mut watch(layer, Box::new(io::repeat(0))), &mut io::sink())
        };
        ahead_on(2, &layers, &unwatched, work, |_| ());
    }

    #[test]
    #[should_panic(expected = "panicked")]
    fn a_panic_is_not_waited_for() {
        let layers = layers(&["a", "b"]);
        let work = |_: &ImageLayer, _: Watch<'_>| -> Result<(), ()> { panic!("on purpose") };
        let _ = ahead_on(2, &layers, &unwatched, work, |result| result(&layers[0]));
    }
}
