//! What is in the layout directory `image` of an environment.

use serde_json::Value;

use crate::environment::Environment;

/// Returns the digest that `tag` names.
pub(crate) fn described(environment: &Environment, tag: &str) -> String {
    described_in(environment, "image", tag)
}

/// Returns the digest that `tag` names in the layout directory `layout`.
pub(crate) fn described_in(environment: &Environment, layout: &str, tag: &str) -> String {
    let index = environment.read(format!("{layout}/index.json"));
    let index: Value = serde_json::from_slice(&index).unwrap();
    let entries = index["manifests"].as_array().unwrap();
    let is_tagged =
        |entry: &&Value| entry["annotations"]["org.opencontainers.image.ref.name"] == tag;
    entries.iter().find(is_tagged).unwrap()["digest"].as_str().unwrap().to_owned()
}

/// Returns the manifest or index that `tag` names.
pub(crate) fn manifest(environment: &Environment, tag: &str) -> Value {
    let digest = described(environment, tag);
    document(environment, &serde_json::json!({ "digest": digest }))
}

/// Returns the document that a descriptor points to.
pub(crate) fn document(environment: &Environment, descriptor: &Value) -> Value {
    let digest = descriptor["digest"].as_str().unwrap();
    let bytes = environment.read(format!("image/blobs/sha256/{}", &digest[7..]));
    serde_json::from_slice(&bytes).unwrap()
}
