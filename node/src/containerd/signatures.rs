//! The signatures of a layer that come with its image.

use std::collections::BTreeMap;

use libverity::digest::{Digest, RootHash};
use osguard_containerd_api::types;
use osguard_registry::artifact::annotations::{self, Keys};
use osguard_registry::descriptor::Descriptor;
use osguard_registry::media_type::MediaType;

/// Holds the signatures over a root hash that were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Detached PKCS#7, DER.
    pub(crate) signatures: Vec<Vec<u8>>,
    /// Why others were of no use, for the message of a refusal.
    pub(crate) remarks: Vec<String>,
}

impl Found {
    /// Writes the remarks as the tail of a sentence.
    pub(crate) fn remarks(&self) -> String {
        self.remarks.iter().map(|remark| format!("; {remark}")).collect()
    }
}

/// Reads the signatures in the annotations of a layer's descriptor, as containerd hands them to a differ by every way of
/// pulling. What is said there is not believed: a signature of another root hash is of no use, and is told of.
pub(crate) fn in_annotations(
    descriptor: &types::Descriptor,
    digest: Digest,
    root_hash: &RootHash,
) -> Found {
    let mut layer = Descriptor::new(
        MediaType::new(&*descriptor.media_type),
        digest,
        descriptor.size.unsigned_abs(),
    );
    layer.annotations = descriptor
        .annotations
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect::<BTreeMap<_, _>>();
    let mut found = Found::default();
    for keys in Keys::ALL {
        match annotations::parse(&layer, keys) {
            Ok(None) => {}
            Ok(Some(signature)) if signature.claim.root_hash == *root_hash => {
                found.signatures.push(signature.signature);
            }
            Ok(Some(signature)) => found.remarks.push(format!(
                "its annotations have a signature of the root hash {}, and it has {root_hash}",
                signature.claim.root_hash
            )),
            Err(error) => found.remarks.push(format!("its annotations are of no use: {error}")),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(annotations: &[(&str, &str)]) -> types::Descriptor {
        types::Descriptor {
            media_type: "application/vnd.oci.image.layer.v1.tar+gzip".to_owned(),
            digest: Digest::of(b"layer").to_string(),
            size: 5,
            annotations: annotations
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn only_signatures_of_the_root_hash_count() {
        let (digest, root_hash) = (Digest::of(b"layer"), RootHash::from_bytes([0xab; 32]));
        let find = |annotations: &[(&str, &str)]| {
            in_annotations(&descriptor(annotations), digest, &root_hash)
        };
        assert_eq!(find(&[("org.example.other", "x")]), Found::default());
        let hex = "ab".repeat(32);
        let both = [("org.osguard.root-hash", &*hex), ("org.osguard.signature", "MAE=")];
        let found = find(&both);
        assert_eq!((found.signatures, found.remarks.len()), (vec![vec![0x30, 1]], 0));

        let other = "cd".repeat(32);
        let found = find(&[("org.osguard.root-hash", &other), ("org.osguard.signature", "MAE=")]);
        assert_eq!(found.signatures, [] as [Vec<u8>; 0]);
        assert!(found.remarks().contains(&other) && found.remarks().contains(&hex));

        let found = find(&[("org.osguard.root-hash", &hex), ("org.osguard.signature", "?")]);
        assert_eq!(found.signatures.len(), 0);
        assert!(found.remarks()[..2] == *"; " && found.remarks.len() == 1);

        let kata = [
            ("io.katacontainers.dm-verity.root-hash", &*hex),
            ("io.katacontainers.dm-verity.root-hash-sig", "MAI="),
        ];
        let found = find(&[both, kata].concat());
        assert_eq!(found.signatures, [vec![0x30, 1], vec![0x30, 2]]);
    }
}
