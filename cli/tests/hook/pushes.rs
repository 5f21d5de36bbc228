//! What is signed, and what never is.

use std::process::Command;

use osguard_testkit::docker_registry::DockerRegistry;
use osguard_testkit::or_skip;

use crate::client::Repository;
use crate::forwarder::Forwarder;
use crate::hook::{Hook, TOKEN, until};

#[test]
fn what_is_pushed_is_signed_once_and_nothing_else_is() {
    let forwarder = Forwarder::start();
    let registry = DockerRegistry::builder().notify(&forwarder.url(), TOKEN);
    let Some(registry) = or_skip(registry.start()) else { return };
    let directory = tempfile::tempdir().unwrap();
    let hook = Hook::start(directory.path(), registry.host());
    forwarder.lead_to(hook.address);
    until("the hook is ready", || hook.get("/readyz").starts_with("HTTP/1.1 200"));

    let allowed = Repository::open(registry.host(), "team/app");
    let image = allowed.push("v1");
    allowed.tag(&image, "latest");
    let children = ["one", "two"].map(|name| allowed.push_child(name));
    let statement = allowed.push_statement();
    let index = allowed.push_index("all", &[&children[0], &children[1], &image], &statement);
    let denied = Repository::open(registry.host(), "team/secret");
    let secret = denied.push("v1");
    let other = Repository::open(registry.host(), "other/app");
    let stranger = other.push("v1");

    until("the images are signed", || hook.jobs("signed") == 3);
    until("nothing is left to do", || hook.jobs("index") == 1 && hook.is_idle());
    for image in [&image, &children[0], &children[1]] {
        assert_eq!(allowed.signatures(image), 1);
    }
    for (repository, image) in
        [(&allowed, &statement), (&allowed, &index), (&denied, &secret), (&other, &stranger)]
    {
        assert_eq!(repository.signatures(image), 0);
    }
    assert_eq!(hook.jobs("signed") + hook.jobs("already-signed"), 3);
    assert_eq!((hook.jobs("failed"), hook.jobs("retried")), (0, 0));
    assert_eq!(hook.log("not on the allow-list, so nothing is signed there").len(), 2);

    let certificate = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/keys/alice.crt");
    let verified = Command::new(env!("CARGO_BIN_EXE_osguard"))
        .args(["verify", &format!("{}/team/app:all", registry.host()), "--trust", certificate])
        .output()
        .unwrap();
    assert!(verified.status.success(), "{verified:?}");
    assert!(hook.terminate().success());
}
