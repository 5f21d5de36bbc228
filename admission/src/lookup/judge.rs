//! Judging one image of a repository.

use std::collections::BTreeSet;
use std::io::Read;
use std::time::SystemTime;

use libverity::digest::Digest;
use osguard_registry::conversion::ConversionError;
use osguard_registry::descriptor::Descriptor;
use osguard_registry::error::{Error, ErrorKind};
use osguard_registry::image::{Image, ImageLayer};
use osguard_registry::manifest::ManifestKind;
use osguard_registry::place::Place;
use osguard_registry::platform::Platform;
use osguard_registry::reference::{RegistryReference, Selector};
use osguard_registry::root_hash_cache::RootHashCache;
use osguard_registry::verification::RootHashes;

use crate::judgement::{JudgedImage, passes};
use crate::nodes::NodeSet;
use crate::policy::Demands;
use crate::verdict::{ImageVerdict, MAX_DETAILS, Reason};
use crate::workload::Placement;

/// Is a verdict, with how long it is good.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The verdict.
    pub verdict: ImageVerdict,
    /// The next time at which a certificate becomes valid or expires.
    pub good_until: Option<SystemTime>,
}

/// Judges the images of all platforms that may run; the worst one decides.
pub(super) fn judge(
    place: &dyn Place,
    named: &RegistryReference,
    digest: Digest,
    demands: &Demands,
    placement: &Placement,
    nodes: Option<&NodeSet>,
    cache: Option<&RootHashCache>,
) -> Result<Judged, ConversionError> {
    let now = SystemTime::now();
    let verdict = |reason, details: Vec<String>| ImageVerdict::new(Some(digest), reason, details);
    let judge = match trust_in(demands, named, now) {
        Ok(judge) => judge,
        Err(detail) => {
            let verdict = verdict(Reason::NoScope, vec![detail]);
            return Ok(Judged { verdict, good_until: None });
        }
    };
    let descriptor = place.resolve(&Selector::Digest(digest))?;
    let images = images(place, &descriptor, &platforms(&demands.platforms, placement))?;
    let root_hashes = match (demands.recompute, cache) {
        (false, _) => RootHashes::Skip,
        (true, Some(cache)) => RootHashes::Cached(cache),
        (true, None) => RootHashes::Recompute,
    };
    let mut reason = Reason::Signed;
    let mut details = Vec::new();
    let mut worst = None;
    let mut good_until: Option<SystemTime> = None;
    for image in &images {
        let judged = JudgedImage::new(place, image, root_hashes, &judge, &unwatched)?;
        let standing = judged.standing();
        if let Some(until) = judged.good_until(now) {
            good_until = Some(good_until.map_or(until, |known| known.min(until)));
        }
        if worst.is_none_or(|worst| worst < standing) {
            worst = Some(standing);
            reason = standing.into();
        }
        if !passes(standing) {
            let room = MAX_DETAILS.saturating_sub(details.len());
            let objections = judged.objections(room).into_iter();
            details.extend(objections.map(|text| format!("{}: {text}", image.platform)));
        }
        if let (Some(nodes), Reason::Signed) = (nodes, reason)
            && let Some(objection) = objection_of_a_node(nodes, image, digest, &judged)
        {
            reason = Reason::Node;
            details.push(objection);
        }
        if demands.profiles.is_empty() {
            continue;
        }
        let others = judged.by_other_profiles(&demands.profiles);
        if let (Some(layer), Reason::Signed) = (others.first(), reason) {
            reason = Reason::Profile;
            let layer = &layer.hex()[..12];
            details.push(format!(
                "{}: layer {layer} is signed, but by no profile of the nodes ({})",
                image.platform,
                demands.profiles.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            ));
        }
    }
    Ok(Judged { verdict: verdict(reason, details), good_until })
}

/// Says which node would not take an image, and why.
fn objection_of_a_node(
    nodes: &NodeSet,
    image: &Image,
    named: Digest,
    judged: &JudgedImage,
) -> Option<String> {
    let platform = &image.platform;
    let is_in_index = image.manifest.digest() != named;
    let mut runs = nodes.for_image(is_in_index.then_some((&platform.os, &platform.architecture)));
    runs.find_map(|node| {
        let name = &node.example;
        match node.facts() {
            Err(reason) => Some(format!("node {name}: {reason}")),
            Ok(facts) => judged.refused_by(facts).map(|(layer, reason)| {
                format!("{platform}: node {name} refuses layer {}: {reason}", &layer.hex()[..12])
            }),
        }
    })
}

/// Returns who judges the images of a repository, or that nobody is trusted for it.
pub(crate) fn trust_in<'a>(
    demands: &'a Demands,
    named: &RegistryReference,
    now: SystemTime,
) -> Result<osguard_policy::trust::Judge<'a>, String> {
    let repository = format!("{}/{}", named.registry, named.repository);
    let repository = repository.parse().map_err(|error| format!("{error}"))?;
    demands.trust.judge(Some(&repository), now).map_err(|error| error.to_string())
}

/// Returns the platforms on which the image may run: those of the nodes, as far as the pod does not
/// choose among them.
fn platforms(of_nodes: &[Platform], placement: &Placement) -> Vec<Platform> {
    let is_chosen = |platform: &&Platform| {
        placement.os.as_ref().is_none_or(|os| *os == platform.os)
            && placement.architecture.as_ref().is_none_or(|own| *own == platform.architecture)
    };
    let chosen: Vec<Platform> = of_nodes.iter().filter(is_chosen).cloned().collect();
    match (&chosen[..], &placement.architecture) {
        // The pod chooses nodes that nobody has told of.
        ([], Some(architecture)) => vec![Platform {
            architecture: architecture.clone(),
            os: placement.os.clone().unwrap_or_else(|| "linux".to_owned()),
            os_version: None,
            os_features: Vec::new(),
            variant: None,
        }],
        _ => chosen,
    }
}

/// Reads the images that nodes of these platforms may take; at least one.
fn images(
    place: &dyn Place,
    descriptor: &Descriptor,
    platforms: &[Platform],
) -> Result<Vec<Image>, Error> {
    if platforms.is_empty() {
        return Image::all(place, descriptor, None);
    }
    let manifest = place.manifest(descriptor)?;
    if let ManifestKind::Image(_) = manifest.kind() {
        // Whatever platform it calls its own, a node takes it: there is nothing else.
        return Image::all(place, descriptor, None);
    }
    let mut images: Vec<Image> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut missing = None;
    for platform in platforms.iter().cloned().chain(platforms.iter().filter_map(stand_in)) {
        match Image::all(place, descriptor, Some(&platform)) {
            Ok(found) => {
                images
                    .extend(found.into_iter().filter(|image| seen.insert(image.manifest.digest())));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => missing = missing.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    match (images.is_empty(), missing) {
        (true, Some(error)) => Err(error),
        _ => Ok(images),
    }
}

/// Returns what containerd takes on a platform for which an index has nothing: the same processors
/// run that as well.
///
/// Source: containerd/platforms, `compare.go`, `platformVector`.
fn stand_in(platform: &Platform) -> Option<Platform> {
    let architecture = match platform.architecture.as_str() {
        "amd64" => "386",
        "arm64" => "arm",
        _ => return None,
    };
    Some(Platform { architecture: architecture.to_owned(), variant: None, ..platform.clone() })
}

fn unwatched(_: &ImageLayer, blob: Box<dyn Read>) -> Box<dyn Read> {
    blob
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_choose_among_platforms() {
        let nodes: Vec<Platform> =
            ["linux/amd64", "linux/arm64"].map(|text| text.parse().unwrap()).into();
        let chosen = |os: Option<&str>, architecture: Option<&str>| {
            let placement = Placement {
                os: os.map(str::to_owned),
                architecture: architecture.map(str::to_owned),
                ..Placement::default()
            };
            platforms(&nodes, &placement).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(chosen(None, None), ["linux/amd64", "linux/arm64"]);
        assert_eq!(chosen(Some("linux"), None), ["linux/amd64", "linux/arm64"]);
        assert_eq!(chosen(None, Some("arm64")), ["linux/arm64"]);
        assert_eq!(chosen(None, Some("s390x")), ["linux/s390x"]);
        assert_eq!(chosen(Some("windows"), Some("amd64")), ["windows/amd64"]);
        // Nothing is left to choose from, so everything is judged.
        assert!(chosen(Some("windows"), None).is_empty());
    }

    #[test]
    fn processors_run_what_stands_in() {
        let of = |text: &str| stand_in(&text.parse().unwrap()).map(|found| found.to_string());
        assert_eq!(of("linux/amd64").as_deref(), Some("linux/386"));
        assert_eq!(of("linux/arm64/v8").as_deref(), Some("linux/arm"));
        assert_eq!(of("linux/riscv64"), None);
    }
}
