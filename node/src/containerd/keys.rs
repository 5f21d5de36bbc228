//! Names of snapshots as containerd's metadata store hands them to a snapshotter, and the digests that name chains of layers.

use libverity::digest::Digest;

/// Is the key or name of a snapshot, taken apart.
///
/// containerd writes `NAMESPACE/SEQUENCE/KEY`. Whoever speaks to the socket without its metadata store writes what he likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotKey<'a> {
    /// The namespace, where there is one.
    pub(crate) namespace: Option<&'a str>,
    /// What the caller of containerd has called the snapshot; it may have spaces and slashes in it.
    pub(crate) name: &'a str,
}

impl<'a> SnapshotKey<'a> {
    pub(crate) fn parse(text: &'a str) -> Self {
        let mut parts = text.splitn(3, '/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(namespace), Some(sequence), Some(name))
                if !namespace.is_empty()
                    && !sequence.is_empty()
                    && sequence.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                Self { namespace: Some(namespace), name }
            }
            _ => Self { namespace: None, name: text },
        }
    }

    /// Tells whether a layer is to be unpacked into the snapshot.
    ///
    /// Labels do not tell: a pull without the transfer service sets none (`core/unpack`, `rootfs/apply.go`).
    pub(crate) fn is_unpack(&self) -> bool {
        self.name.starts_with("extract-")
    }

    /// Returns the chainID in it: `extract-TIME-RANDOM CHAINID` while a layer is unpacked, and the name afterwards.
    pub(crate) fn chain_id(&self) -> Option<Digest> {
        self.name.rsplit(' ').next()?.parse().ok()
    }
}

/// Returns the chainID of a layer with this diffID upon a parent.
///
/// Source: OCI image specification, `config.md`, "Layer ChainID".
pub(crate) fn chain_id(parent: Option<Digest>, diff_id: Digest) -> Digest {
    match parent {
        None => diff_id,
        Some(parent) => Digest::of(format!("{parent} {diff_id}").as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_apart() {
        let digest = Digest::of(b"chain");
        let unpack = format!("k8s.io/12/extract-570722231-XRq9 {digest}");
        let key = SnapshotKey::parse(&unpack);
        assert_eq!(key.namespace, Some("k8s.io"));
        assert!(key.is_unpack());
        assert_eq!(key.chain_id(), Some(digest));
        let committed = format!("default/2/{digest}");
        let key = SnapshotKey::parse(&committed);
        assert!(!key.is_unpack());
        assert_eq!(key.chain_id(), Some(digest));
        let key = SnapshotKey::parse("default/5/a/b c");
        assert_eq!((key.namespace, key.name, key.chain_id()), (Some("default"), "a/b c", None));
    }

    #[test]
    fn other_keys_have_no_namespace() {
        for text in ["", "a", "a/b", "/1/b", "a//b", "a/1x/b", "/tmp/work/preparing", "extract-1"] {
            assert_eq!(SnapshotKey::parse(text), SnapshotKey { namespace: None, name: text });
        }
        assert!(SnapshotKey::parse("extract-1").is_unpack());
        assert!(!SnapshotKey::parse("x-extract-1").is_unpack());
    }

    #[test]
    fn chain_ids_are_those_of_the_specification() {
        let (bottom, top) = (Digest::of(b"bottom"), Digest::of(b"top"));
        assert_eq!(chain_id(None, bottom), bottom);
        // printf 'sha256:%s sha256:%s' BOTTOM TOP | sha256sum
        let expected =
            Digest::of(format!("sha256:{} sha256:{}", bottom.hex(), top.hex()).as_bytes());
        assert_eq!(chain_id(Some(bottom), top), expected);
    }
}
