//! A hook that is killed at ten points of its work.

use osguard_testkit::docker_registry::DockerRegistry;
use osguard_testkit::or_skip;

use crate::client::Repository;
use crate::forwarder::Forwarder;
use crate::hook::{Hook, TOKEN, until};

/// The requests of one signature are about twenty: the image, its layer, what is attached to it,
/// the blobs and the manifest of the signature, and the list in which it is found. With one more
/// request at every kill, the hook dies before and behind each of ten of them.
#[test]
fn the_next_hook_completes_what_a_killed_one_has_begun() {
    let forwarder = Forwarder::start();
    let registry = DockerRegistry::builder().notify(&forwarder.url(), TOKEN);
    let Some(registry) = or_skip(registry.start()) else { return };
    let directory = tempfile::tempdir().unwrap();
    let repository = Repository::open(registry.host(), "team/app");
    let requests = || registry.log().unwrap().matches("\"osguard/").count();
    let mut images = Vec::new();
    for point in 0..10 {
        images.push(repository.push(&format!("v{point}")));
        let before = requests();
        let hook = Hook::start(directory.path(), registry.host());
        forwarder.lead_to(hook.address);
        until("the hook works", || requests() > before + 2 * point);
        hook.kill();
    }
    let hook = Hook::start(directory.path(), registry.host());
    forwarder.lead_to(hook.address);
    let are_signed =
        || images.iter().all(|image| repository.signatures(image) > 0) && hook.is_idle();
    until("all are signed", are_signed);
    for image in &images {
        assert_eq!(repository.signatures(image), 1);
    }
    assert_eq!(hook.jobs("failed"), 0);
}
