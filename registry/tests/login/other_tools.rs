//! The same files, helpers and directories, read by docker, skopeo and osguard: each registry is
//! shown the same by all.

use std::process::Command;

use base64ct::{Base64, Encoding as _};
use osguard_registry::credentials::Credential;
use osguard_registry::tls::Tls;
use osguard_testkit::clients::Clients;
use osguard_testkit::command::command;
use osguard_testkit::or_skip;

use crate::sandbox::Sandbox;
use crate::server::{Authority, Server};

/// Configurations that all three read alike; `REGISTRY` is to be replaced by the server's name.
const CONFIGURATIONS: [&str; 11] = [
    "{}",
    r#"{"auths": {"REGISTRY": {"auth": "dXNlcjpzZWNyZXQ="}}}"#,
    r#"{"auths": {"https://REGISTRY/v1/": {"auth": "dXNlcjpzZWNyZXQ="}}}"#,
    r#"{"auths": {"http://REGISTRY": {"auth": "dXNlcjpzZWNyZXQ="}}}"#,
    r#"{"auths": {"127.0.0.1": {"auth": "dXNlcjpzZWNyZXQ="}}}"#,
    r#"{"auths": {"REGISTRY": {"auth": "dXNlcjphOmI6w6Q="}}}"#,
    r#"{"auths": {"REGISTRY": {"auth": "dXNlcjpzZWNy\r\nZXQ="}}}"#,
    r#"{"auths": {"REGISTRY": {"auth": "dXNlcjpzZWNyZXQAAAA="}}}"#,
    r#"{"auths": {"REGISTRY": {}}}"#,
    r#"{"auths": {"REGISTRY": {}}, "credHelpers": {"REGISTRY": "some"}}"#,
    r#"{"auths": {"REGISTRY": {}}, "credHelpers": {"REGISTRY": "none"}}"#,
];

/// Entries for namespaces, which docker does not know.
const NAMESPACES: [&str; 3] = [
    r#"{"auths": {"REGISTRY/org": {"auth": "b3JnOng="}, "REGISTRY": {"auth": "aG9zdDp4"}}}"#,
    r#"{"auths": {"REGISTRY/org": {"auth": "b3JnOng="}, "REGISTRY/org/app": {"auth": "YXBwOng="}}}"#,
    r#"{"auths": {"REGISTRY/or": {"auth": "b3JnOng="}}}"#,
];

struct Place {
    sandbox: Sandbox,
    server: Server,
}

impl Place {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let authority = Authority::new("ours");
        let server = Server::start(&authority.server("127.0.0.1"));
        sandbox.file("ca.pem", authority.pem());
        sandbox.helper("some", r#"echo '{"Username": "helped", "Secret": "p"}'"#);
        sandbox.helper("none", "echo 'credentials not found in native keychain'; exit 1");
        Self { sandbox, server }
    }

    fn image(&self) -> String {
        format!("{}/org/app:v1", self.server.registry())
    }

    /// Returns what the server is shown by a program.
    fn shown_by(&self, program: &mut Command) -> Option<String> {
        program.envs(self.sandbox.variables()).env("SSL_CERT_FILE", self.sandbox.path("ca.pem"));
        for name in ["REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"] {
            program.env_remove(name);
        }
        let output = program.output().unwrap();
        let requests = self.server.take_requests();
        assert!(!requests.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        let shown = requests.into_iter().find_map(|request| request.authorization);
        // The empty user name with the empty password, which skopeo shows where it has nothing.
        shown.filter(|authorization| authorization != "Basic Og==")
    }

    /// Returns what osguard shows it.
    fn ours(&self) -> Option<String> {
        let credentials = self.sandbox.credentials();
        let found = credentials.for_repository(&self.server.registry(), "org/app").unwrap();
        match found.credential {
            Credential::Anonymous => None,
            Credential::Basic { username, password } => {
                let text = format!("{username}:{}", password.expose());
                Some(format!("Basic {}", Base64::encode_string(text.as_bytes())))
            }
            other => panic!("{other:?}"),
        }
    }

    fn configure(&self, file: &str, configuration: &str) {
        self.sandbox.file(file, configuration.replace("REGISTRY", &self.server.registry()));
    }
}

#[test]
fn skopeo_finds_the_same_credentials() {
    let Some(skopeo) = or_skip(command("skopeo")) else { return };
    let places = ["home/.docker/config.json", "home/.config/containers/auth.json"];
    for file in places {
        let place = Place::new();
        for configuration in CONFIGURATIONS.iter().chain(&NAMESPACES) {
            place.configure(file, configuration);
            let image = format!("docker://{}", place.image());
            let mut skopeo = Command::new(skopeo.get_program());
            let shown = place.shown_by(skopeo.args(["inspect", &image]));
            assert_eq!(place.ours(), shown, "{configuration} in {file}");
        }
    }
}

#[test]
fn docker_finds_the_same_credentials() {
    let Some(docker) = or_skip(Clients::new().and_then(|clients| clients.docker())) else { return };
    let place = Place::new();
    // An empty file is an error to skopeo.
    for configuration in CONFIGURATIONS.into_iter().chain([""]) {
        place.configure("home/.docker/config.json", configuration);
        let mut docker = Command::new(docker.get_program());
        let shown = place.shown_by(docker.args(["manifest", "inspect", &place.image()]));
        assert_eq!(place.ours(), shown, "{configuration}");
    }
}

#[test]
fn skopeo_uses_the_same_directories() {
    let Some(skopeo) = or_skip(command("skopeo")) else { return };
    let sandbox = Sandbox::new();
    let (ours, clients) = (Authority::new("ours"), Authority::new("clients"));
    let server = Server::start_for(&ours.server("127.0.0.1"), &clients);
    let client = clients.client("client");
    let directory = format!("home/.config/containers/certs.d/{}", server.registry());
    sandbox.file(&format!("{directory}/ca.crt"), ours.pem());
    sandbox.file(&format!("{directory}/client.cert"), &client.certificate);
    sandbox.file(&format!("{directory}/client.key"), &client.key);
    sandbox.file("home/.docker/config.json", "{}");

    let image = format!("docker://{}/org/app:v1", server.registry());
    Command::new(skopeo.get_program())
        .args(["inspect", &image])
        .env_remove("XDG_CONFIG_HOME")
        .envs(sandbox.variables())
        .output()
        .unwrap();
    let theirs = server.take_requests();
    let config = Tls::of(sandbox.environment()).client_config(&server.registry()).unwrap();
    server.try_with(config).unwrap();
    assert_eq!(theirs.first(), server.take_requests().first());
    assert!(
        theirs.iter().all(|request| request.client_certificate.is_some()) && !theirs.is_empty()
    );
}
