//! Deciding about images: what is known at once, and what has to be looked up first.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use libverity::digest::Digest;
use osguard_registry::reference::{RegistryReference, Selector};
use osguard_registry::root_hash_cache::RootHashCache;

use crate::cache::{Cache, Limits};
use crate::cluster::PullCredentials;
use crate::configuration::CacheTable;
use crate::image_name;
use crate::lookup::{ImageSource, Judged, Lookup, trust_in};
use crate::metrics::Metrics;
use crate::nodes::NodeSet;
use crate::policy::{Demands, Registries};
use crate::single_flight::{FlightError, SingleFlight};
use crate::verdict::{Effect, ImageVerdict, Reason};
use crate::verdict_store::VerdictStore;
use crate::workload::Placement;

/// Decides about images, and remembers.
#[derive(Debug)]
pub struct Decider {
    lookup: Arc<Lookup>,
    metrics: Arc<Metrics>,
    verdicts: Arc<Cache<VerdictKey, Arc<ImageVerdict>>>,
    tags: Arc<Cache<TagKey, Digest>>,
    judging: SingleFlight<VerdictKey, Arc<ImageVerdict>>,
    resolving: SingleFlight<TagKey, Result<Digest, Arc<ImageVerdict>>>,
    times: CacheTable,
    store: Option<Arc<VerdictStore>>,
}

/// Asks whether an image may start.
#[derive(Clone, Debug)]
pub struct Question {
    /// The name of the image, as the workload has it.
    pub image: String,
    /// What is asked of it.
    pub demands: Arc<Demands>,
    /// How registries are reached.
    pub registries: Arc<Registries>,
    /// On which nodes it may run.
    pub placement: Placement,
    /// What these say of themselves, if that is asked, or why nothing is known of them.
    pub nodes: Option<Result<NodeSet, Arc<str>>>,
    /// What the pod has for registries.
    pub pull: Option<Arc<PullCredentials>>,
}

/// Tells verdicts apart: what was asked, and of what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct VerdictKey {
    demands: Digest,
    registries: Digest,
    repository: String,
    digest: Digest,
    placement: Placement,
    nodes: Option<Digest>,
    pull: Option<Digest>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct TagKey {
    registries: Digest,
    image: String,
    pull: Option<Digest>,
}

/// Is how far one gets without asking anybody.
enum Known {
    Verdict(Arc<ImageVerdict>),
    Digest(RegistryReference, Digest),
    Name(RegistryReference),
}

impl Decider {
    /// Makes one that knows nothing yet.
    pub fn new(
        times: CacheTable,
        metrics: Arc<Metrics>,
        root_hash_cache: Option<RootHashCache>,
    ) -> Self {
        let limits = Limits { entries: times.entries, bytes: times.bytes };
        Self {
            lookup: Lookup::new(Arc::clone(&metrics), root_hash_cache),
            metrics,
            verdicts: Arc::new(Cache::new(limits)),
            tags: Arc::new(Cache::new(TAG_LIMITS)),
            judging: SingleFlight::new(MAX_FLIGHTS),
            resolving: SingleFlight::new(MAX_FLIGHTS),
            times,
            store: None,
        }
    }

    /// Keeps verdicts on images that pass in a store as well, where the next process finds them.
    #[must_use]
    pub fn with_store(self, store: Option<VerdictStore>) -> Self {
        Self { store: store.map(Arc::new), ..self }
    }

    /// Returns the verdict on an image if it can be told without asking a registry.
    pub fn known(&self, question: &Question) -> Option<Arc<ImageVerdict>> {
        match self.as_far_as_known(question) {
            Known::Verdict(verdict) => Some(verdict),
            Known::Digest(..) | Known::Name(_) => None,
        }
    }

    /// Decides about an image, until `deadline` at the latest. What was not found out by then is
    /// found out all the same, for whoever asks next.
    pub async fn decide(&self, question: &Question, deadline: Instant) -> Arc<ImageVerdict> {
        let within = tokio::time::timeout_at(deadline.into(), self.decide_in_time(question));
        let verdict = within.await.unwrap_or_else(|_| {
            let detail = "it is being looked up, and known when the request is made again";
            Arc::new(ImageVerdict::new(None, Reason::Deadline, [detail.to_owned()]))
        });
        self.metrics.image(verdict.reason);
        verdict
    }

    /// Returns how many verdicts are kept, and how many bytes they take.
    pub fn size(&self) -> (usize, usize) {
        self.verdicts.size()
    }

    /// Counts a verdict that [`Self::known`] has returned and that was given to somebody.
    pub fn count(&self, verdict: &ImageVerdict) {
        self.metrics.image(verdict.reason);
    }

    async fn decide_in_time(&self, question: &Question) -> Arc<ImageVerdict> {
        let (image, digest) = match self.as_far_as_known(question) {
            Known::Verdict(verdict) => return verdict,
            Known::Digest(image, digest) => (image, digest),
            Known::Name(image) => match self.resolve(question, &image).await {
                Ok(digest) => {
                    let key = question.key(&image, digest);
                    if let Some(verdict) = self.verdicts.find(&key, Instant::now()) {
                        return verdict;
                    }
                    (image, digest)
                }
                Err(verdict) => return verdict,
            },
        };
        self.judge(question, image, digest).await
    }

    fn as_far_as_known(&self, question: &Question) -> Known {
        let refuse = |reason, detail: String| {
            Known::Verdict(Arc::new(ImageVerdict::new(None, reason, [detail])))
        };
        let image = match image_name::parse(&question.image) {
            Ok(image) => image,
            Err(error) => return refuse(Reason::BadName, error.to_string()),
        };
        let now = Instant::now();
        let digest = match &image.selector {
            Selector::Digest(digest) => Some(*digest),
            _ if question.demands.require_digest => {
                return refuse(Reason::NotPinned, image.to_string());
            }
            _ => self.tags.find(&question.tag_key(&image), now),
        };
        let are_nodes_known = !matches!(question.nodes, Some(Err(_)));
        if let Some(digest) = digest
            && are_nodes_known
            && let Some(verdict) = self.verdicts.find(&question.key(&image, digest), now)
        {
            self.metrics.cache(true);
            return Known::Verdict(verdict);
        }
        // Nobody has to be asked about a repository for which nobody is trusted, or everybody.
        match trust_in(&question.demands, &image, SystemTime::now()) {
            Err(detail) => return refuse(Reason::NoScope, detail),
            Ok(judge) if judge.skips() => {
                return Known::Verdict(Arc::new(ImageVerdict::new(digest, Reason::Skipped, [])));
            }
            Ok(_) => {}
        }
        if let Some(Err(reason)) = &question.nodes {
            return refuse(Reason::Node, reason.to_string());
        }
        match digest {
            Some(digest) => Known::Digest(image, digest),
            None => Known::Name(image),
        }
    }

    /// Finds out where a tag leads.
    ///
    /// # Errors
    ///
    /// Returns the verdict that follows from not knowing.
    pub async fn resolve(
        &self,
        question: &Question,
        image: &RegistryReference,
    ) -> Result<Digest, Arc<ImageVerdict>> {
        if let Selector::Digest(digest) = &image.selector {
            return Ok(*digest);
        }
        let key = question.tag_key(image);
        if let Some(digest) = self.tags.find(&key, Instant::now()) {
            return Ok(digest);
        }
        self.metrics.cache(false);
        let (lookup, tags) = (Arc::clone(&self.lookup), Arc::clone(&self.tags));
        let source = ImageSource {
            registries: Arc::clone(&question.registries),
            pull: question.pull.clone(),
            image: image.clone(),
        };
        let time = self.times.tag();
        let kept = key.clone();
        let work = move || async move {
            let found = lookup.resolve(&source).await;
            if let Ok(digest) = found {
                let bytes = ENTRY_BYTES + kept.image.len();
                tags.keep(kept, digest, bytes, Instant::now() + time);
            }
            found.map_err(Arc::new)
        };
        self.resolving.run(key, work).await.unwrap_or_else(|error| Err(flight(error, None)))
    }

    async fn judge(
        &self,
        question: &Question,
        image: RegistryReference,
        digest: Digest,
    ) -> Arc<ImageVerdict> {
        self.metrics.cache(false);
        let key = question.key(&image, digest);
        let (lookup, verdicts) = (Arc::clone(&self.lookup), Arc::clone(&self.verdicts));
        let question = question.clone();
        let times = self.times;
        let kept = key.clone();
        let store = self.store.clone();
        let work = move || async move {
            if let Some(store) = &store
                && let Some(left) = stored(store, kept.id()).await
            {
                let verdict = Arc::new(ImageVerdict::new(Some(digest), Reason::Signed, []));
                let until = Instant::now() + left.min(times.good());
                verdicts.keep(kept.clone(), Arc::clone(&verdict), kept.bytes(), until);
                return verdict;
            }
            let Question { registries, demands, placement, nodes, pull, .. } = question;
            let nodes = nodes.and_then(Result::ok);
            let source = ImageSource { registries, pull, image };
            let judged = lookup.judge(&source, digest, &demands, &placement, nodes).await;
            let (verdict, good_until) = match judged {
                Ok(Judged { verdict, good_until }) => (verdict, good_until),
                Err(verdict) => (verdict, None),
            };
            let verdict = Arc::new(verdict);
            if let Some(time) = time_of(&verdict, good_until, &times) {
                let bytes = kept.bytes() + verdict.details.iter().map(String::len).sum::<usize>();
                if let Some(store) = store
                    && verdict.reason == Reason::Signed
                {
                    store_in_background(store, kept.id(), time);
                }
                verdicts.keep(kept, Arc::clone(&verdict), bytes, Instant::now() + time);
            }
            verdict
        };
        let flown = self.judging.run(key, work).await;
        flown.unwrap_or_else(|error| flight(error, Some(digest)))
    }
}

impl Question {
    fn key(&self, image: &RegistryReference, digest: Digest) -> VerdictKey {
        VerdictKey {
            demands: self.demands.id,
            registries: self.registries.id,
            repository: format!("{}/{}", image.registry, image.repository),
            digest,
            placement: self.placement.platform(),
            nodes: self.nodes.as_ref().and_then(|nodes| Some(nodes.as_ref().ok()?.id)),
            pull: self.pull.as_ref().map(|pull| pull.id),
        }
    }

    fn tag_key(&self, image: &RegistryReference) -> TagKey {
        TagKey {
            registries: self.registries.id,
            image: image.to_string(),
            pull: self.pull.as_ref().map(|pull| pull.id),
        }
    }
}

impl VerdictKey {
    /// Tells it from others in a store.
    fn id(&self) -> Digest {
        Digest::of(format!("{self:?}").as_bytes())
    }

    /// Returns what it takes in memory, with a verdict that has no details.
    fn bytes(&self) -> usize {
        self.repository.len() + ENTRY_BYTES
    }
}

/// Looks for a verdict in the store; returns for how long it counts.
async fn stored(store: &Arc<VerdictStore>, key: Digest) -> Option<Duration> {
    let store = Arc::clone(store);
    let found = tokio::task::spawn_blocking(move || store.find(&key, SystemTime::now()));
    found.await.ok().flatten()
}

/// Nobody waits for the disk; a verdict that cannot be kept is found out again.
fn store_in_background(store: Arc<VerdictStore>, key: Digest, time: Duration) {
    tokio::task::spawn_blocking(move || {
        if let Err(error) = store.keep(&key, SystemTime::now() + time) {
            tracing::warn!(%error, "cannot keep a verdict on the disk");
        }
    });
}

/// Returns how long a verdict is kept; what nobody knew is not kept at all.
fn time_of(
    verdict: &ImageVerdict,
    good_until: Option<SystemTime>,
    times: &CacheTable,
) -> Option<Duration> {
    let time = match verdict.reason.effect() {
        Effect::Pass => times.good(),
        Effect::Refuse if verdict.reason == Reason::Internal => return None,
        Effect::Refuse => times.bad(),
        Effect::Unavailable => return None,
    };
    match good_until {
        Some(until) => Some(time.min(until.duration_since(SystemTime::now()).unwrap_or_default())),
        None => Some(time),
    }
}

fn flight(error: FlightError, digest: Option<Digest>) -> Arc<ImageVerdict> {
    let reason = match error {
        FlightError::Ended => Reason::Internal,
        FlightError::Full => Reason::Overloaded,
    };
    Arc::new(ImageVerdict::new(digest, reason, [error.to_string()]))
}

/// What an entry takes beside its texts: digests, two copies of the key, and the maps around them.
const ENTRY_BYTES: usize = 600;

/// A tag takes about 700 bytes.
const TAG_LIMITS: Limits = Limits { entries: 10_000, bytes: 4 << 20 };

/// How many images are looked up or wait for it at the same time.
const MAX_FLIGHTS: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_knew_is_asked_again() {
        let times = CacheTable::default();
        let time = |reason, until| time_of(&ImageVerdict::new(None, reason, []), until, &times);
        assert_eq!(time(Reason::Signed, None), Some(times.good()));
        assert_eq!(time(Reason::NotSigned, None), Some(times.bad()));
        for reason in [Reason::Registry, Reason::Throttled, Reason::Deadline, Reason::Internal] {
            assert_eq!(time(reason, None), None);
        }
    }

    #[test]
    fn a_verdict_ends_with_the_certificate() {
        let times = CacheTable::default();
        let signed = ImageVerdict::new(None, Reason::Signed, []);
        let soon = SystemTime::now() + Duration::from_secs(60);
        assert!(time_of(&signed, Some(soon), &times).unwrap() <= Duration::from_secs(60));
        let past = SystemTime::now() - Duration::from_secs(60);
        assert_eq!(time_of(&signed, Some(past), &times), Some(Duration::ZERO));
    }
}
