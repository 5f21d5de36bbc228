//! Redirects of reads.

use osguard_registry::distribution::RegistryError;
use osguard_registry::media_type::MediaType;
use osguard_testkit::registry::{Answer, Fault, Registry};

use crate::support::*;

#[test]
fn blobs_may_come_from_elsewhere() {
    let registry = Registry::start().unwrap();
    let storage = Registry::start().unwrap();
    let bytes = content(100_000);
    let blob = push_blob(&*open(&registry), MediaType::OCI_LAYER, &bytes);
    storage.put_blob(REPOSITORY, &bytes).unwrap();
    for status in [302, 303, 307] {
        registry.fault(
            Fault::new()
                .method("GET")
                .path_contains("/blobs/")
                .answer(Answer::redirect_to(status, &storage)),
        );
        let read = open(&registry).blob(&blob).unwrap().read_all(1 << 20).unwrap();
        assert_eq!(read, bytes);
    }
    assert_eq!(storage.requests().len(), 3);
}

#[test]
fn redirects_end() {
    let registry = Registry::start().unwrap();
    let blob = push_blob(&*open(&registry), MediaType::OCI_LAYER, b"layer");
    let fails = |location: &str| {
        registry.fault(Fault::new().method("GET").always().answer(Answer::redirect(307, location)));
        let error = refusal(open(&registry).blob(&blob));
        registry.clear_faults();
        error
    };
    let error = fails("{target}");
    assert!(matches!(error, RegistryError::RedirectRefused { .. }), "{error}");
    assert_eq!(registry.requests().iter().filter(|request| request.method == "GET").count(), 5);
    for location in ["file:///etc/passwd", "ftp://a/b", "http://", ""] {
        let error = fails(location);
        assert!(
            matches!(error, RegistryError::Nonsense { .. } | RegistryError::RedirectRefused { .. }),
            "{location}: {error}"
        );
    }
}
