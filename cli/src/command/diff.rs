//! `osguard diff`.

use std::collections::BTreeSet;
use std::io::{self, Write};

use libverity::digest::{Digest, RootHash};
use osguard_registry::artifact::Claim;
use osguard_registry::comparison::packages::{PackageChange, Unread};
use osguard_registry::comparison::{
    Comparison, ComparisonError, Difference, LayerChange, LayerComparison, compare,
};
use osguard_registry::image::{Image, PlacedImage};
use osguard_registry::place::Place;
use osguard_registry::platform::Platform;
use osguard_registry::signatures;
use serde::Serialize;

use crate::command::patch::carrying::counterpart;
use crate::conversion::watch;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::image::{Found, short};
use crate::network::NetworkArguments;
use crate::output::{Output, Report};

/// Tell in which layers, files and packages two images differ
///
/// Files are compared as a container sees them, by kind, content, permissions, owner and attributes. Packages are those
/// in the databases of dpkg, apk and rpm, but for those in the form of Berkeley DB. Signatures are told as they are
/// attached: whether they are good is for `osguard verify` to say.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The image before
    #[arg(value_name = "OLD")]
    old: String,
    /// The image after
    #[arg(value_name = "NEW")]
    new: String,
    /// Compare only the images for this platform, such as linux/amd64 [default: all that both have]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
    #[command(flatten)]
    network: NetworkArguments,
}

#[derive(Serialize)]
struct DiffReport {
    old: String,
    new: String,
    images: Vec<ImageReport>,
}

#[derive(Serialize)]
struct ImageReport {
    platform: String,
    old: Digest,
    new: Digest,
    layers: Vec<LayerReport>,
    files: Vec<FileReport>,
    packages: Vec<PackageReport>,
    /// Databases of packages that were not read, and why.
    unread: Vec<UnreadReport>,
    /// The root hashes that are signed for the old image and for no layer of the new one.
    root_hashes_out_of_use: Vec<RootHash>,
}

#[derive(Serialize)]
struct LayerReport {
    digest: Digest,
    diff_id: Digest,
    size_bytes: u64,
    /// `added`, `kept`, `recompressed` or `removed`.
    change: &'static str,
    /// Of a layer that was compressed again: its digest before.
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<Digest>,
    /// `kept`, `added`, `lost` or `none`: whether signatures are attached for it, before and after.
    signature: &'static str,
}

#[derive(Serialize)]
struct FileReport {
    path: String,
    change: &'static str,
}

#[derive(Serialize)]
struct PackageReport {
    manager: String,
    name: String,
    architecture: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<String>,
}

#[derive(Serialize)]
struct UnreadReport {
    path: String,
    reason: String,
}

pub(crate) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let old = Found::parse(&arguments.old, &arguments.network)?;
    let new = Found::parse(&arguments.new, &arguments.network)?;
    let all =
        |found: &Found| Image::all(&*found.place, &found.descriptor, arguments.platform.as_ref());
    let (old_images, new_images) = (all(&old)?, all(&new)?);
    let mut reports = Vec::new();
    for image in &new_images {
        let Ok(before) = counterpart(&old_images, image, &arguments.old) else {
            output.warning(format_args!("{} has nothing for {}", arguments.old, image.platform));
            continue;
        };
        let progress = output.progress();
        let [before, after] = [(&old, before), (&new, image)]
            .map(|(found, image)| PlacedImage { place: &*found.place, image });
        let comparison = compare(before, after, &watch(&progress))?;
        let claims = [claims(before.place, before.image)?, claims(after.place, after.image)?];
        reports.push(ImageReport::of([before.image, after.image], comparison, &claims));
    }
    if reports.is_empty() {
        return Err(Failure::new(
            ExitStatus::NotFound,
            format!("{} and {} have no platform in common", arguments.old, arguments.new),
        ));
    }
    output.report(&DiffReport {
        old: old.reference.to_string(),
        new: new.reference.to_string(),
        images: reports,
    })?;
    Ok(ExitStatus::Done)
}

/// Lists what the signatures of an image say of themselves.
fn claims(place: &dyn Place, image: &Image) -> Result<Vec<Claim>, Failure> {
    let candidates = signatures::find(place, &image.manifest)?;
    let artifacts = candidates.into_iter().filter_map(|candidate| candidate.outcome.ok());
    Ok(artifacts.flat_map(|artifact| artifact.signatures).map(|found| found.claim).collect())
}

impl ImageReport {
    fn of([old, new]: [&Image; 2], comparison: Comparison, claims: &[Vec<Claim>; 2]) -> Self {
        let layers = comparison.layers.iter().map(|layer| LayerReport::of(layer, claims)).collect();
        let [before, after] = claims;
        let used: BTreeSet<_> = after.iter().map(|claim| &claim.root_hash).collect();
        let kept = |claim: &Claim| {
            new.layers.iter().any(|layer| layer.descriptor.digest == claim.layer_digest)
        };
        let gone: BTreeSet<_> = before
            .iter()
            .filter(|claim| !used.contains(&claim.root_hash) && !kept(claim))
            .map(|claim| claim.root_hash.clone())
            .collect();
        let file = |change: osguard_registry::comparison::FileChange| FileReport {
            path: change.path.to_string(),
            change: match change.difference {
                Difference::Added => "added",
                Difference::Removed => "removed",
                Difference::Kind => "another kind of file",
                Difference::Content => "changed",
                Difference::Metadata => "changed owner, permissions or attributes",
            },
        };
        Self {
            platform: new.platform.to_string(),
            old: old.manifest.digest(),
            new: new.manifest.digest(),
            layers,
            files: comparison.files.into_iter().map(file).collect(),
            packages: comparison.packages.into_iter().map(PackageReport::of).collect(),
            unread: comparison
                .unread
                .into_iter()
                .map(|Unread { path, reason }| UnreadReport { path: path.to_string(), reason })
                .collect(),
            root_hashes_out_of_use: gone.into_iter().collect(),
        }
    }
}

impl LayerReport {
    fn of(LayerComparison { layer, change }: &LayerComparison, claims: &[Vec<Claim>; 2]) -> Self {
        let digest = layer.descriptor.digest;
        let old = match change {
            LayerChange::Recompressed { old } => Some(*old),
            _ => None,
        };
        let [before, after] = claims;
        let has = |claims: &[Claim], digest: Digest| {
            claims.iter().any(|claim| claim.layer_digest == digest)
        };
        let was_signed = has(before, old.unwrap_or(digest));
        let is_signed = *change != LayerChange::Removed && has(after, digest);
        Self {
            digest,
            diff_id: layer.diff_id,
            size_bytes: layer.descriptor.size,
            change: match change {
                LayerChange::Added => "added",
                LayerChange::Kept => "kept",
                LayerChange::Recompressed { .. } => "recompressed",
                LayerChange::Removed => "removed",
            },
            old,
            signature: match (was_signed, is_signed) {
                (true, true) => "kept",
                (false, true) => "added",
                (true, false) => "lost",
                (false, false) => "none",
            },
        }
    }
}

impl PackageReport {
    fn of(PackageChange { manager, name, architecture, old, new }: PackageChange) -> Self {
        Self { manager: manager.to_string(), name, architecture, old, new }
    }
}

impl Report for DiffReport {
    const SCHEMA: &'static str = "osguard.diff.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "Old {}", self.old)?;
        writeln!(out, "New {}", self.new)?;
        for image in &self.images {
            image.text(out)?;
        }
        Ok(())
    }
}

impl ImageReport {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "\nManifest {} ({}), before {}", self.new, self.platform, self.old)?;
        for layer in &self.layers {
            let LayerReport { change, signature, size_bytes, .. } = layer;
            let digest = short(layer.digest);
            write!(out, "  layer {digest}  {change}, {size_bytes} bytes, signature {signature}")?;
            match layer.old {
                Some(old) => writeln!(out, ", before {}", short(old))?,
                None => writeln!(out)?,
            }
        }
        for FileReport { path, change } in &self.files {
            writeln!(out, "  file {path}  {change}")?;
        }
        for package in &self.packages {
            let PackageReport { manager, name, architecture, .. } = package;
            let version =
                |version: &Option<String>| version.clone().unwrap_or_else(|| "none".to_owned());
            let (old, new) = (version(&package.old), version(&package.new));
            let name = match architecture.is_empty() {
                true => name.clone(),
                false => format!("{name}:{architecture}"),
            };
            writeln!(out, "  package {name} ({manager})  {old} → {new}")?;
        }
        for UnreadReport { path, reason } in &self.unread {
            writeln!(out, "  not read: {path}: {reason}")?;
        }
        for root_hash in &self.root_hashes_out_of_use {
            writeln!(out, "  root hash {root_hash}  out of use")?;
        }
        Ok(())
    }
}

impl From<ComparisonError> for Failure {
    fn from(error: ComparisonError) -> Self {
        match error {
            ComparisonError::Conversion(error) => error.into(),
            other => Self::from_error(ExitStatus::Failure, other),
        }
    }
}
