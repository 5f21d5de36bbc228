//! Unmodified kernels of Debian, and their modules.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::command::{command, run};
use crate::debian::{Packages, Suite, Tree, files_in};
use crate::error::{Error, Result};

/// Is a kernel that tests run on: Debian's cloud flavour, as it is shipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Of Debian 13: IPE and signed dm-verity devices.
    V6_12,
    /// Of Debian unstable, 7.2 or what has followed it there: also the keyring `.dm-verity`.
    V7_2,
}

impl Kernel {
    /// Are all kernels, for what has to hold on each.
    pub const ALL: [Self; 2] = [Self::V6_12, Self::V7_2];

    /// Returns the configuration with which the kernel was built.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] where the kernel is not to be had.
    pub fn configuration(self) -> Result<Vec<u8>> {
        let Installed { image, config, .. } = self.installed()?;
        let config =
            config.ok_or_else(|| Error::unexpected(image.display(), "comes without its config"))?;
        fs::read(&config).map_err(Error::io(&config))
    }

    /// Returns where the kernel lies, which is fetched if need be.
    pub(super) fn installed(self) -> Result<Installed> {
        let (variable, name, suite) = match self {
            Self::V6_12 => ("OSGUARD_VM_KERNEL_6_12", "vm/kernel-6.12", Suite::Trixie),
            Self::V7_2 => ("OSGUARD_VM_KERNEL_7_2", "vm/kernel-7.2", Suite::Sid),
        };
        let root = match std::env::var_os(variable) {
            Some(root) => PathBuf::from(root),
            None => {
                let parts = Packages::Behind("linux-image-cloud-amd64", &PARTS);
                Tree::unpacked(name, suite, parts)?.root().to_owned()
            }
        };
        Installed::in_root(&root)
    }
}

/// Is a kernel with its modules on this machine.
pub(super) struct Installed {
    /// The bootable image.
    pub(super) image: PathBuf,
    /// The configuration, which old packages keep in another place.
    config: Option<PathBuf>,
    /// The files of all modules by name, with `_` for `-`.
    modules: BTreeMap<String, PathBuf>,
    /// The names of what is built in.
    built_in: BTreeSet<String>,
}

/// Is a module that is ready to be loaded.
pub(super) struct Module {
    /// Its name, with `_` for `-`.
    pub(super) name: String,
    /// The object file, not compressed.
    pub(super) object: Vec<u8>,
}

impl Installed {
    fn in_root(root: &Path) -> Result<Self> {
        let no_kernel = || Error::unexpected(root.display(), "holds no kernel with its modules");
        let modules = ["usr/lib/modules", "lib/modules"].map(|path| root.join(path));
        let modules = modules.iter().find(|path| path.is_dir()).ok_or_else(no_kernel)?;
        let directory = files_in(modules)?.pop().ok_or_else(no_kernel)?;
        let version = directory.file_name().unwrap_or_default().to_string_lossy();
        let image =
            [directory.join("vmlinuz"), root.join("boot").join(format!("vmlinuz-{version}"))];
        let image = image.into_iter().find(|path| path.is_file()).ok_or_else(no_kernel)?;
        let config =
            [directory.join("config"), root.join("boot").join(format!("config-{version}"))];
        let config = config.into_iter().find(|path| path.is_file());
        let mut modules = BTreeMap::new();
        collect_modules(&directory.join("kernel"), &mut modules)?;
        let built_in = directory.join("modules.builtin");
        let built_in = fs::read_to_string(&built_in).map_err(Error::io(&built_in))?;
        let built_in = built_in.lines().filter_map(|path| module_name(Path::new(path))).collect();
        Ok(Self { image, config, modules, built_in })
    }

    /// Returns the modules of these names and all that they depend on, in an order to load them.
    ///
    /// Names that this kernel does not know are left out if another one does without them too:
    /// a checksum or hash that became part of the kernel's library.
    pub(super) fn modules(&self, names: &[String]) -> Result<Vec<Module>> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for name in names {
            self.load(name, &mut seen, &mut order)?;
        }
        Ok(order)
    }

    fn load(&self, name: &str, seen: &mut BTreeSet<String>, order: &mut Vec<Module>) -> Result<()> {
        let name = name.replace('-', "_");
        if self.built_in.contains(&name) || !seen.insert(name.clone()) {
            return Ok(());
        }
        let Some(path) = self.modules.get(&name) else {
            return if OPTIONAL.contains(&name.as_str()) {
                Ok(())
            } else {
                Err(Error::unexpected(self.image.display(), format!("has no module {name}")))
            };
        };
        let object = match path.extension().and_then(|extension| extension.to_str()) {
            Some("xz") => run(command("xz")?.args(["--decompress", "--stdout"]).arg(path))?,
            Some("zst") => run(command("zstd")?.args(["--decompress", "--stdout"]).arg(path))?,
            _ => fs::read(path).map_err(Error::io(path))?,
        };
        for dependency in dependencies(&object) {
            self.load(&dependency, seen, order)?;
        }
        order.push(Module { name, object });
        Ok(())
    }
}

fn collect_modules(directory: &Path, modules: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for path in files_in(directory)? {
        if path.is_dir() {
            collect_modules(&path, modules)?;
        } else if let Some(name) = module_name(&path) {
            modules.insert(name, path);
        }
    }
    Ok(())
}

/// Returns the name of the module in a file such as `dm-verity.ko.xz`, with `_` for `-`.
fn module_name(path: &Path) -> Option<String> {
    let (name, _) = path.file_name()?.to_str()?.split_once(".ko")?;
    Some(name.replace('-', "_"))
}

/// Returns what a module depends on: the field `depends=` of its section `.modinfo`, whose fields
/// end with a NUL. An unpacked package has no `modules.dep`; that file is made when it is installed.
fn dependencies(object: &[u8]) -> Vec<String> {
    let field = b"\0depends=";
    let Some(start) = object.windows(field.len()).position(|window| window == field) else {
        return Vec::new();
    };
    let value = object[start + field.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(value);
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Are the packages that hold a kernel; newer ones have it in several.
const PARTS: [&str; 4] = ["linux-base", "linux-binary", "linux-image", "linux-modules"];

/// Are the modules that newer kernels have in their library instead.
const OPTIONAL: [&str; 3] = ["crc32c_generic", "crc32c_intel", "sha256_ssse3"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_module_depends_on() {
        let depends = |modinfo: &[u8]| dependencies(modinfo);
        assert_eq!(depends(b"x\0depends=dm-mod,dm-bufio\0y"), ["dm-mod", "dm-bufio"]);
        assert!(depends(b"license=GPL\0depends=\0name=loop\0").is_empty());
        assert!(depends(b"license=GPL\0").is_empty());
        assert_eq!(module_name(Path::new("a/dm-verity.ko.xz")).as_deref(), Some("dm_verity"));
        assert_eq!(module_name(Path::new("modules.dep")), None);
    }
}
