//! What a node says of itself is refused, or read back as it is written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use osguard_policy::node_description::{NODE_DESCRIPTION_SCHEMA, NodeDescription};

fuzz_target!(|bytes: &[u8]| {
    let Ok(description) = NodeDescription::parse(bytes) else { return };
    assert!(description.kernel_version().is_some());
    assert!(description.identifiers().len() <= description.certificates.len());
    let mut written = serde_json::to_value(&description).expect("a description is written");
    written["schema"] = NODE_DESCRIPTION_SCHEMA.into();
    let again = NodeDescription::parse(written.to_string().as_bytes());
    // What is written out may be longer than what was read, and too long.
    assert!(again.is_err() || again.ok() == Some(description));
});
