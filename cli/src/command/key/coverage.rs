//! `osguard key coverage`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use libverity::certificate::Certificate;
use libverity::digest::Digest;
use osguard_admission::judgement::{candidate, examine_for, name};
use osguard_policy::trust::{LayerCoverage, Standing, read_certificates};
use osguard_registry::image::Image;
use serde::Serialize;

use crate::conversion::watch;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::image::{Found, IMAGE_HELP, parse, short};
use crate::network::NetworkArguments;
use crate::output::{Output, Report};
use crate::root_hash::RootHashArguments;
use crate::trust::TrustArguments;

/// Tell which images and layers a key still protects, so that it can be retired
///
/// A key protects a layer that has a good signature by it, and the layer needs the key if it would be refused without. A key
/// that no layer needs can be retired, as far as these images go.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[arg(value_name = "IMAGE", help = IMAGE_HELP, required = true)]
    images: Vec<String>,
    /// Tell of the keys of these certificates alone [default: of every key that has signed]
    #[arg(long, value_name = "FILE|DIR")]
    cert: Vec<PathBuf>,
    #[command(flatten)]
    trust: TrustArguments,
    #[command(flatten)]
    root_hash: RootHashArguments,
    #[command(flatten)]
    network: NetworkArguments,
}

#[derive(Serialize)]
struct CoverageReport {
    keys: Vec<KeyReport>,
    /// Layers that are not good with all of their signatures.
    refused: Vec<RefusedReport>,
}

#[derive(Serialize)]
struct KeyReport {
    subject: String,
    /// The subject key identifier.
    key: String,
    /// Whether no layer needs it.
    retirable: bool,
    layers: Vec<LayerReport>,
}

#[derive(Clone, Serialize)]
struct LayerReport {
    image: String,
    manifest: Digest,
    platform: String,
    layer: Digest,
    /// Whether the layer would be refused without the key.
    needed: bool,
    /// The subjects of the other signers.
    others: Vec<String>,
}

#[derive(Serialize)]
struct RefusedReport {
    image: String,
    manifest: Digest,
    platform: String,
    layer: Digest,
    verdict: &'static str,
}

impl Report for CoverageReport {
    const SCHEMA: &'static str = "osguard.key.coverage.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for key in &self.keys {
            key.text(out)?;
        }
        if self.keys.is_empty() {
            writeln!(out, "No trusted key has signed any layer.")?;
        }
        if !self.refused.is_empty() {
            writeln!(out, "Refused with all of their signatures, whatever key is retired:")?;
        }
        for refused in &self.refused {
            let RefusedReport { image, platform, layer, verdict, .. } = refused;
            writeln!(out, "  {image} ({platform})  layer {}  {verdict}", short(*layer))?;
        }
        Ok(())
    }
}

impl KeyReport {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "Key {} of {}", self.key, self.subject)?;
        let mut above = None;
        for layer in &self.layers {
            if above.replace((&layer.image, layer.manifest)) != Some((&layer.image, layer.manifest))
            {
                writeln!(out, "  {} ({})", layer.image, layer.platform)?;
            }
            let others = layer.others.join(", ");
            let need = match (layer.needed, layer.others.is_empty()) {
                (true, true) => "needs it".to_owned(),
                (true, false) => format!("needs it besides {others}"),
                (false, true) => "is refused even with it".to_owned(),
                (false, false) => format!("also signed by {others}"),
            };
            writeln!(out, "    layer {}  {need}", short(layer.layer))?;
        }
        let needed = self.layers.iter().filter(|layer| layer.needed).count();
        match (needed, self.layers.len()) {
            (0, 0) => writeln!(out, "  has no good signature of these layers"),
            (0, _) => writeln!(out, "  needed by no layer: it can be retired"),
            (needed, signed) => {
                writeln!(out, "  needed by {needed} of the {signed} layers that it has signed")
            }
        }
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let mut keys: BTreeMap<String, KeyReport> = BTreeMap::new();
    for path in &arguments.cert {
        for certificate in read_certificates(path)? {
            keys.entry(certificate.derived_key_identifier())
                .or_insert_with(|| KeyReport::of(&certificate));
        }
    }
    let mut refused = Vec::new();
    let source = arguments.root_hash.source(output);
    for text in &arguments.images {
        let trust = arguments.trust.read(&parse(text)?, output)?;
        let judge = trust.judge()?;
        let found = Found::parse(text, &arguments.network)?;
        for image in Image::all(&*found.place, &found.descriptor, None)? {
            let progress = output.progress();
            let (place, root_hashes) = (&*found.place, source.root_hashes());
            let examined = examine_for(place, &image, root_hashes, &judge, &watch(&progress))?;
            for (origin, error) in &examined.unusable {
                let origin = crate::origin::OriginReport::of(origin);
                output
                    .warning(format_args!("{origin} of {} is unusable: {error}", found.reference));
            }
            for layer in &examined.layers {
                let candidates: Vec<_> = layer.signatures.iter().map(candidate).collect();
                let coverage = judge.coverage(&candidates);
                let place = LayerReport {
                    image: found.reference.to_string(),
                    manifest: image.manifest.digest(),
                    platform: image.platform.to_string(),
                    layer: layer.descriptor.digest,
                    needed: false,
                    others: Vec::new(),
                };
                if !matches!(coverage.standing, Standing::Signed | Standing::Skipped) {
                    refused.push(RefusedReport {
                        image: place.image.clone(),
                        manifest: place.manifest,
                        platform: place.platform.clone(),
                        layer: place.layer,
                        verdict: name(coverage.standing),
                    });
                }
                note(&mut keys, &coverage, &place, arguments.cert.is_empty());
            }
        }
    }
    let mut keys: Vec<_> = keys.into_values().collect();
    for key in &mut keys {
        key.retirable = !key.layers.iter().any(|layer| layer.needed);
    }
    keys.sort_by(|one, other| (&one.subject, &one.key).cmp(&(&other.subject, &other.key)));
    output.report(&CoverageReport { keys, refused })?;
    Ok(ExitStatus::Done)
}

/// Notes what each key does for a layer; keys that nobody asked for only `where_unknown`.
fn note(
    keys: &mut BTreeMap<String, KeyReport>,
    coverage: &LayerCoverage,
    place: &LayerReport,
    where_unknown: bool,
) {
    for (number, covering) in coverage.keys.iter().enumerate() {
        let certificate = &covering.certificate;
        let others = coverage.keys.iter().enumerate().filter(|(other, _)| *other != number);
        let layer = LayerReport {
            needed: covering.is_needed,
            others: others.map(|(_, other)| other.certificate.subject()).collect(),
            ..place.clone()
        };
        let key = certificate.derived_key_identifier();
        if where_unknown {
            keys.entry(key.clone()).or_insert_with(|| KeyReport::of(certificate));
        }
        if let Some(report) = keys.get_mut(&key) {
            report.layers.push(layer);
        }
    }
}

impl KeyReport {
    fn of(certificate: &Certificate) -> Self {
        let identifier = certificate.subject_key_identifier();
        Self {
            subject: certificate.subject(),
            key: identifier.unwrap_or_else(|| certificate.derived_key_identifier()),
            retirable: false,
            layers: Vec::new(),
        }
    }
}
