//! What goes wrong, as data.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::answer::{Answer, filled_in};
use super::gate::Gate;
use super::http::Head;
use super::lock;
use super::response::{Ending, Framing, Response};

/// Is what goes wrong, with which requests, and how often.
///
/// A new fault concerns every request, once, and does nothing: methods narrow the requests, say how
/// often, and what happens. Of several faults that concern a request, the one that was scripted
/// first and is not used up happens, alone.
///
/// | Situation | Fault |
/// | --- | --- |
/// | too many requests | `.answer(Answer::status(429).retry_after_seconds(1))` |
/// | a link to another host | `.header("Link", "<http://other/v2/>; rel=\"next\"")` |
/// | referrers without end | `.always().header("Link", "</v2/a/referrers/DIGEST?page={count}>; rel=\"next\"")` |
/// | a mount that is refused | `.query_contains("mount=").without_parameter("mount")` |
/// | an upload that ends without `Location` | `.method("PUT").without_header("Location")` |
/// | an upload sent elsewhere | `.method("PUT").answer(Answer::redirect_to(307, &other))` |
/// | fallback tags that name the subject itself | `.always().rewrite_path("/manifests/sha256-", "/manifests/sha256:")` |
/// | a manifest of 1 GiB, its length untold | `.answer(Answer::status(200).repeat(b' ', 1 << 30)).chunked()` |
/// | a body that ends too early | `.cut_after(10)`, `.declare_length(1000)` |
/// | a body that does not end in time | `.append(1).until_closed()` |
/// | writers in a race | `.method("PUT").times(2).hold(&Gate::opening_at(2))` |
///
/// ```no_run
/// use osguard_testkit::registry::{Answer, Fault, Registry};
///
/// let registry = Registry::start().unwrap();
/// let unavailable = registry.fault(
///     Fault::new().method("GET").path_contains("/blobs/").times(2).answer(Answer::status(503)),
/// );
/// // …
/// assert_eq!(unavailable.count(), 2);
/// ```
#[derive(Clone, Debug)]
pub struct Fault {
    method: Option<String>,
    path: Vec<String>,
    query: Vec<String>,
    longer_than: Option<u64>,
    skipped: u64,
    times: u64,
    script: Script,
}

/// Is what happens to one request and its answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Script {
    pub(super) delay: Duration,
    pub(super) hold: Option<Gate>,
    pub(super) cut_upload_after: Option<u64>,
    pub(super) before_body: bool,
    pub(super) answer: Option<Answer>,
    rewritten_path: Option<(String, String)>,
    dropped_parameter: Option<String>,
    pub(super) hold_answer: Option<Gate>,
    status: Option<u16>,
    /// A value, or that there is no such header.
    headers: Vec<(String, Option<String>)>,
    flipped_byte: Option<u64>,
    appended: u64,
    framing: Option<Framing>,
    ending: Option<Ending>,
    /// How often it has happened before.
    pub(super) count: u64,
}

/// Tells how often a fault has happened.
#[derive(Clone, Debug)]
pub struct Scripted(Arc<AtomicU64>);

impl Scripted {
    /// Returns how many requests it has happened to.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Default for Fault {
    fn default() -> Self {
        Self::new()
    }
}

/// Which requests, and how many of them.
impl Fault {
    /// Concerns every request, once, and does nothing.
    pub fn new() -> Self {
        Self {
            method: None,
            path: Vec::new(),
            query: Vec::new(),
            longer_than: None,
            skipped: 0,
            times: 1,
            script: Script::default(),
        }
    }

    /// Concerns only requests with this method.
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Concerns only requests with this text in their path, which is percent-decoded.
    pub fn path_contains(mut self, text: &str) -> Self {
        self.path.push(text.to_owned());
        self
    }

    /// Concerns only requests with this text in their query, as it arrives.
    pub fn query_contains(mut self, text: &str) -> Self {
        self.query.push(text.to_owned());
        self
    }

    /// Concerns only requests whose `Content-Length` is larger, or which have chunks instead.
    pub fn body_longer_than(mut self, bytes: u64) -> Self {
        self.longer_than = Some(bytes);
        self
    }

    /// Leaves the first so many of those requests alone.
    pub fn after(mut self, requests: u64) -> Self {
        self.skipped = requests;
        self
    }

    /// Happens so many times, and then no more.
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// Happens whenever it can.
    pub fn always(self) -> Self {
        self.times(u64::MAX)
    }

    fn concerns(&self, head: &Head) -> bool {
        let length = || match head.header("Transfer-Encoding") {
            Some(_) => u64::MAX,
            None => head.header("Content-Length").and_then(|n| n.parse().ok()).unwrap_or(0),
        };
        self.method.as_ref().is_none_or(|method| *method == head.method)
            && self.path.iter().all(|text| head.path.contains(text))
            && self.query.iter().all(|text| head.query.contains(text))
            && self.longer_than.is_none_or(|bytes| length() > bytes)
    }
}

/// What happens before the request is done, or instead of it.
impl Fault {
    /// Waits this long before anything is done.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.script.delay = delay;
        self
    }

    /// Waits at the gate before anything is done.
    pub fn hold(mut self, gate: &Gate) -> Self {
        self.script.hold = Some(gate.clone());
        self
    }

    /// Reads so many bytes of the request's body, and cuts the connection if there are more.
    pub fn cut_upload_after(mut self, bytes: u64) -> Self {
        self.script.cut_upload_after = Some(bytes);
        self
    }

    /// Does the request as if its path had another text in the place of this.
    pub fn rewrite_path(mut self, from: &str, to: &str) -> Self {
        self.script.rewritten_path = Some((from.to_owned(), to.to_owned()));
        self
    }

    /// Does the request as if its query had no parameter of this name.
    pub fn without_parameter(mut self, name: &str) -> Self {
        self.script.dropped_parameter = Some(name.to_owned());
        self
    }

    /// Answers this instead of doing the request, when its body has been read.
    pub fn answer(mut self, answer: Answer) -> Self {
        self.script.answer = Some(answer);
        self
    }

    /// Gives that answer before the body has been read.
    pub fn before_body(mut self) -> Self {
        self.script.before_body = true;
        self
    }
}

/// What happens to the answer, be it the registry's own or a scripted one.
impl Fault {
    /// Waits at the gate when the request has been done, before it is answered.
    pub fn hold_answer(mut self, gate: &Gate) -> Self {
        self.script.hold_answer = Some(gate.clone());
        self
    }

    /// Has another status.
    pub fn status(mut self, status: u16) -> Self {
        self.script.status = Some(status);
        self
    }

    /// Has this header instead of any others of this name. In the value, `{count}` and `{target}`
    /// stand for what they stand for in an [`Answer`].
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.script.headers.push((name.to_owned(), Some(value.to_owned())));
        self
    }

    /// Lacks this header.
    pub fn without_header(mut self, name: &str) -> Self {
        self.script.headers.push((name.to_owned(), None));
        self
    }

    /// Has a bit wrong in the byte at this offset of the body.
    pub fn flip_bit_at(mut self, offset: u64) -> Self {
        self.script.flipped_byte = Some(offset);
        self
    }

    /// Has so many bytes more in the body; the announced length stays as it is.
    pub fn append(mut self, bytes: u64) -> Self {
        self.script.appended = bytes;
        self
    }

    /// Announces this length, whatever follows, and ends the connection behind the body.
    pub fn declare_length(self, bytes: u64) -> Self {
        self.header("Content-Length", &bytes.to_string())
    }

    /// Sends the body in chunks, without a length.
    pub fn chunked(mut self) -> Self {
        self.script.framing = Some(Framing::Chunks);
        self
    }

    /// Sends the body without a length; its end is the end of the connection.
    pub fn until_closed(mut self) -> Self {
        self.script.framing = Some(Framing::Close);
        self
    }

    /// Cuts the connection instead of answering.
    pub fn no_answer(mut self) -> Self {
        self.script.ending = Some(Ending::NoAnswer);
        self
    }

    /// Cuts the connection after so many bytes of the body.
    pub fn cut_after(mut self, bytes: u64) -> Self {
        self.script.ending = Some(Ending::Cut { after: bytes });
        self
    }

    /// Sends so many bytes of the body, and then nothing, until the client gives up.
    pub fn stall_after(mut self, bytes: u64) -> Self {
        self.script.ending = Some(Ending::Stall { after: bytes });
        self
    }
}

impl Script {
    /// Returns the request that is done instead of this.
    pub(super) fn rewritten(&self, head: &Head) -> Head {
        let mut head = head.clone();
        if let Some((from, to)) = &self.rewritten_path {
            head.path = head.path.replace(from, to);
        }
        if let Some(name) = &self.dropped_parameter {
            let kept = head.parameters().filter(|(other, _)| other != name).collect::<Vec<_>>();
            head.query =
                form_urlencoded::Serializer::new(String::new()).extend_pairs(kept).finish();
        }
        head
    }

    /// Spoils an answer.
    pub(super) fn spoil(&self, head: &Head, mut response: Response) -> Response {
        if let Some(status) = self.status {
            response.status = status;
        }
        if let Some(offset) = self.flipped_byte {
            response.flip_bit_at(offset);
        }
        if self.appended > 0 {
            response.append(self.appended);
        }
        for (name, value) in &self.headers {
            response.remove_header(name);
            if let Some(value) = value {
                let value = filled_in(value, head, self.count);
                response.headers.push((name.clone(), value));
            }
        }
        if let Some(framing) = self.framing {
            response.framing = framing;
        }
        if let Some(ending) = self.ending {
            response.ending = ending;
        }
        response
    }
}

/// Holds all faults that have been scripted.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<Vec<Active>>);

#[derive(Debug)]
struct Active {
    fault: Fault,
    /// How many requests it has concerned.
    seen: u64,
    happened: Arc<AtomicU64>,
}

impl Faults {
    pub(super) fn add(&self, fault: Fault) -> Scripted {
        let happened = Arc::default();
        let scripted = Scripted(Arc::clone(&happened));
        lock(&self.0).push(Active { fault, seen: 0, happened });
        scripted
    }

    /// Says what happens to a request.
    pub(super) fn script(&self, head: &Head) -> Option<Script> {
        lock(&self.0).iter_mut().find_map(|active| {
            let count = active.happened.load(Ordering::SeqCst);
            if count >= active.fault.times || !active.fault.concerns(head) {
                return None;
            }
            active.seen += 1;
            if active.seen <= active.fault.skipped {
                return None;
            }
            active.happened.store(count + 1, Ordering::SeqCst);
            Some(Script { count, ..active.fault.script.clone() })
        })
    }

    /// Forgets all faults, and lets those go on who wait.
    pub(super) fn clear(&self) {
        for active in lock(&self.0).drain(..) {
            let script = active.fault.script;
            for gate in [script.hold, script.hold_answer].into_iter().flatten() {
                gate.release();
            }
        }
    }
}
