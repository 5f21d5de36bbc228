//! Descriptions of nodes in a directory, or in a `ConfigMap` that is mounted there.

use std::io;
use std::path::Path;

use osguard_policy::node_description::{MAX_DESCRIPTION_BYTES, NodeDescription};

use super::Node;
use crate::small_file;

/// Reads `NODE.json` of every node. A file that cannot be used stands for a node that takes nothing; names that begin with a
/// dot are kubelet's own.
///
/// # Errors
///
/// Fails where the directory cannot be read or has too many files.
pub(super) fn read(directory: &Path) -> io::Result<Vec<Node>> {
    let mut nodes = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let file = entry.file_name().to_string_lossy().into_owned();
        if file.starts_with('.') {
            continue;
        }
        if nodes.len() == MAX_NODES {
            return Err(io::Error::other(format!("it has more than {MAX_NODES} files")));
        }
        let name = file.strip_suffix(".json");
        let description = match name {
            Some(name) => describe(name, &entry.path()),
            None => Err(format!("{file} is not called NODE.json")),
        };
        let name = name.unwrap_or(&file).to_owned();
        // What a description says of the platform counts; nobody else says it.
        nodes.push(Node { host: name.clone(), name, os: None, architecture: None, description });
    }
    Ok(nodes)
}

fn describe(name: &str, path: &Path) -> Result<NodeDescription, String> {
    let bytes = small_file::read(path, MAX_DESCRIPTION_BYTES as u64)
        .map_err(|error| format!("its description cannot be read: {error}"))?;
    let description = NodeDescription::parse(&bytes)
        .map_err(|error| format!("its description cannot be used: {error}"))?;
    match description.name == name {
        true => Ok(description),
        false => Err("its description is that of another node".to_owned()),
    }
}

/// The largest clusters have 5,000.
pub(super) const MAX_NODES: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn each_file_is_a_node_whatever_is_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let text = r#"{"schema":"osguard.node.describe.v1","name":"a","os":"linux",
            "architecture":"amd64","kernel":"6.12.1","profiles":[],"certificates":[]}"#;
        fs::create_dir(path("..data")).unwrap();
        fs::write(path("..data/a.json"), text).unwrap();
        std::os::unix::fs::symlink("..data/a.json", path("a.json")).unwrap();
        fs::write(path("b.json"), text).unwrap();
        fs::write(path("c.json"), "{").unwrap();
        fs::write(path("d"), text).unwrap();
        fs::create_dir(path("e.json")).unwrap();
        std::os::unix::fs::symlink("gone", path("f.json")).unwrap();
        let mut nodes = read(directory.path()).unwrap();
        nodes.sort_by(|one, other| one.name.cmp(&other.name));
        let good: Vec<bool> = nodes.iter().map(|node| node.description.is_ok()).collect();
        assert_eq!(good, [true, false, false, false, false, false]);
        assert!(read(&path("none")).is_err());
    }
}
