//! What `osguard node list --image` prints.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;

use libverity::digest::{Digest, RootHash};
use osguard_node::active_devices::ActiveDevice;
use osguard_node::generations::{
    Generation, GenerationLayer, Generations, GenerationsError, Holder,
};
use osguard_registry::reference::Reference;
use serde::Serialize;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::image::short;
use crate::output::Report;

#[derive(Serialize)]
pub(super) struct GenerationsReport {
    image: String,
    generations: Vec<GenerationReport>,
    /// How many devices are active for all of them together.
    devices: usize,
    /// What could not be found out.
    unknown: Vec<String>,
}

#[derive(Serialize)]
struct GenerationReport {
    name: String,
    manifest: Digest,
    /// Where it is mounted, or in which namespace containerd has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    /// From the bottom up.
    layers: Vec<LayerReport>,
}

#[derive(Serialize)]
struct LayerReport {
    digest: Digest,
    /// Whether another generation has it as well.
    shared: bool,
    devices: Vec<DeviceReport>,
}

#[derive(Serialize)]
struct DeviceReport {
    /// In the kernel, such as `dm-3`.
    name: String,
    root_hash: RootHash,
    signed: bool,
}

impl GenerationsReport {
    pub(super) fn of(image: &Reference, found: Generations) -> Self {
        let generations: Vec<_> = found.generations.into_iter().map(GenerationReport::of).collect();
        let layers = generations.iter().flat_map(|generation| &generation.layers);
        let devices = layers.flat_map(|layer| &layer.devices).map(|device| &device.name);
        let devices = devices.collect::<BTreeSet<_>>().len();
        Self { image: image.to_string(), generations, devices, unknown: found.unknown }
    }
}

impl GenerationReport {
    fn of(Generation { name, manifest, holder, layers }: Generation) -> Self {
        let (target, namespace) = match holder {
            Holder::Containerd { namespace } => (None, Some(namespace)),
            Holder::Mount { target } => (Some(target), None),
        };
        let layers = layers.into_iter().map(LayerReport::of).collect();
        Self { name, manifest, target, namespace, layers }
    }
}

impl LayerReport {
    fn of(GenerationLayer { digest, is_shared, devices }: GenerationLayer) -> Self {
        let device = |device: ActiveDevice| DeviceReport {
            name: device.kernel_name,
            root_hash: device.layer.root_hash,
            signed: device.layer.signed,
        };
        Self { digest, shared: is_shared, devices: devices.into_iter().map(device).collect() }
    }
}

impl Report for GenerationsReport {
    const SCHEMA: &'static str = "osguard.node.list.image.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.generations.is_empty() {
            writeln!(out, "Nothing of {} is here", self.image)?;
        }
        for generation in &self.generations {
            write!(out, "{}  manifest {}", generation.name.escape_debug(), generation.manifest)?;
            match (&generation.namespace, &generation.target) {
                (Some(namespace), _) => {
                    writeln!(out, "  containerd, namespace {}", namespace.escape_debug())?;
                }
                (None, Some(target)) => writeln!(out, "  mounted at {}", target.display())?,
                (None, None) => writeln!(out)?,
            }
            for layer in &generation.layers {
                layer.text(out)?;
            }
        }
        for unknown in &self.unknown {
            writeln!(out, "not known: {unknown}")?;
        }
        writeln!(out, "{} devices are active for these images", self.devices)
    }
}

impl LayerReport {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let shared = if self.shared { "shared" } else { "its own" };
        write!(out, "  layer {}  {shared}", short(self.digest))?;
        if self.devices.is_empty() {
            write!(out, "  not active")?;
        }
        for DeviceReport { name, root_hash, signed } in &self.devices {
            let signed = if *signed { "signed" } else { "NOT SIGNED" };
            write!(out, "  {name} with the root hash {root_hash}  {signed}")?;
        }
        writeln!(out)
    }
}

impl From<GenerationsError> for Failure {
    fn from(error: GenerationsError) -> Self {
        match error {
            GenerationsError::Mounts(error) => error.into(),
            other => Self::from_error(ExitStatus::Failure, other),
        }
    }
}
