//! An index that is rewritten is refused, or the new one says the same but for what was to change.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use osguard_registry::manifest::{Manifest, ManifestKind};
use osguard_registry::publication::index_of;

fuzz_target!(|bytes: &[u8]| {
    let Ok(old) = Manifest::parse(None, bytes.to_vec()) else { return };
    let ManifestKind::Index(before) = old.kind() else { return };
    let annotations =
        BTreeMap::from([("org.osguard.patch.origin-name".to_owned(), "v1".to_owned())]);
    let Ok(new) = index_of(&old, &[], annotations.clone()) else { return };
    let ManifestKind::Index(after) = new.kind() else { panic!("an index stays one") };
    assert_eq!(after.manifests, before.manifests);
    assert_eq!((&after.subject, &after.artifact_type), (&before.subject, &before.artifact_type));
    let mut expected = before.annotations.clone();
    expected.extend(annotations.clone());
    assert_eq!(after.annotations, expected);
    // A second time there is nothing left to change.
    let again = index_of(&new, &[], annotations).expect("what was written is read");
    assert_eq!(again.bytes(), new.bytes());
});
