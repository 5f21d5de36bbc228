//! A configuration of credentials gives something that can be sent, or nothing, or an error; and the
//! same every time.
#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use osguard_registry::credentials::{Credential, Credentials};
use osguard_registry::environment::Environment;

fuzz_target!(|content: &[u8]| {
    // Nothing else is found there, neither files nor helpers.
    let environment = Environment::new(Path::new("/nowhere"), 0)
        .with_variable("DOCKER_AUTH_CONFIG", OsStr::from_bytes(content));
    let credentials = Credentials::of(environment);
    for registry in ["r.example", "r.example:5000", "docker.io"] {
        let found = credentials.for_repository(registry, "org/app");
        match found.as_ref().map(|found| &found.credential) {
            Ok(Credential::Basic { username, .. }) => {
                assert!(!username.is_empty() && !username.contains(':'), "{username:?}");
            }
            Ok(Credential::Bearer { token } | Credential::IdentityToken { token }) => {
                assert!(!token.expose().is_empty());
            }
            _ => {}
        }
        let describe = |found| format!("{found:?}");
        let again = credentials.for_repository(registry, "org/app");
        assert_eq!(describe(found), describe(again));
    }
});
