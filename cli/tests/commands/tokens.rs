//! Keys in tokens, by SoftHSM.

use std::fs;
use std::process::Command;

use osguard_testkit::or_skip;
use osguard_testkit::softhsm::SoftHsm;

use crate::environment::{Environment, Ran};
use crate::fixtures;

/// Is an image to sign, and a token to sign it with.
struct Scene {
    environment: Environment,
    hsm: SoftHsm,
}

impl Scene {
    /// Makes the token `release`, which has no key yet.
    fn new() -> Option<Self> {
        let hsm = or_skip(SoftHsm::new())?;
        hsm.add_token("release").unwrap();
        let environment = Environment::with_keys();
        fixtures::image(&environment);
        Some(Self { environment, hsm })
    }

    /// Names a key with the module that it is reached by.
    fn uri(&self, key: &str) -> String {
        format!("pkcs11:{key}?module-path={}", self.hsm.module().display())
    }

    fn osguard(&self, pin: Option<&str>) -> Command {
        let mut command = self.environment.osguard();
        let (name, value) = self.hsm.environment();
        command.env(name, value);
        if let Some(pin) = pin {
            command.env("OSGUARD_PASSPHRASE", pin);
        }
        command
    }

    fn sign(&self, key: &str) -> Command {
        let mut command = self.osguard(Some(SoftHsm::PIN));
        command.args(["sign", "oci:image:v1", "--key", key]);
        command
    }

    /// Has the signing refused, and returns the line that says why and the hints.
    fn refused(&self, command: &mut Command) -> Ran {
        // SoftHSM counts in its own directory, and nothing else may change.
        let ran = self.environment.refuses(command);
        assert!(!ran.to_string().contains(SoftHsm::PIN), "the PIN is printed: {ran}");
        ran
    }
}

#[test]
fn keys_in_a_token_sign() {
    let Some(scene) = Scene::new() else { return };
    let kinds = [
        ("rsa:2048", "01"),
        ("EC:prime256v1", "02"),
        ("EC:secp384r1", "03"),
        ("EC:secp521r1", "04"),
    ];
    for (kind, id) in kinds {
        let certificate = scene.hsm.add_key("release", "signer", id, kind, true).unwrap();
        let uri = scene.uri(&format!("token=release;object=signer;id=%{id}"));
        let ran = scene.environment.ran(&mut scene.sign(&uri)).done();
        assert!(ran.contains("Signer CN=signer"), "{ran}");
        fs::copy(certificate, scene.environment.path("signer.crt")).unwrap();
        scene.environment.run(["verify", "oci:image:v1", "--trust", "signer.crt"]).done();

        let shown = scene.osguard(Some(SoftHsm::PIN)).args(["key", "show", &uri]).output().unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert!(
            shown.contains("a private key; it signs with ") && shown.contains("CN=signer"),
            "{shown}"
        );
    }
}

#[test]
fn a_certificate_beside_the_token_will_do_and_another_keys_will_not() {
    let Some(scene) = Scene::new() else { return };
    let uri = scene.uri("object=signer");
    for (kind, id) in [("rsa:2048", "01"), ("EC:prime256v1", "02")] {
        let certificate = scene.hsm.add_key("release", "signer", id, kind, false).unwrap();
        let uri = format!("pkcs11:id=%{id};{}", &uri["pkcs11:".len()..]);
        let missing = scene.refused(&mut scene.sign(&uri));
        assert!(
            missing.stderr.contains("the token \"release\" has no certificate for the key"),
            "{missing}"
        );
        assert!(missing.stderr.contains("Hint: --cert names"), "{missing}");
        let mut sign = scene.sign(&uri);
        scene.environment.ran(sign.arg("--cert").arg(certificate)).done();
        let other = scene.refused(scene.sign(&uri).args(["--cert", "alice.crt"]));
        assert!(other.stderr.contains("is not the key of the certificate"), "{other}");
    }
}

#[test]
fn what_a_token_lacks_is_told() {
    let Some(scene) = Scene::new() else { return };
    for (label, id) in [("one", "01"), ("two", "02"), ("two", "03")] {
        scene.hsm.add_key("release", label, id, "EC:prime256v1", true).unwrap();
    }
    let elsewhere = "pkcs11:object=one?module-path=/nonexistent.so".to_owned();
    let text = scene.environment.path("alice.key");
    let cases = [
        (
            scene.uri("token=other;object=one"),
            3,
            "there is no such token; there is token=release (serial=",
        ),
        (
            scene.uri("token=release;object=three"),
            3,
            "has no such private key; it has object=one;id=%01, object=two;id=%02, object=two;id=%03",
        ),
        (
            scene.uri("token=release;object=two"),
            2,
            "several such keys: object=two;id=%02, object=two;id=%03",
        ),
        (scene.uri("object=one;slot-id=1"), 3, "there is no such token"),
        (elsewhere, 3, "/nonexistent.so: it cannot be loaded as a PKCS#11 module"),
        (
            "pkcs11:object=one?module-name=nonsense".to_owned(),
            3,
            "there is no PKCS#11 module nonsense in /usr/lib",
        ),
        (format!("pkcs11:object=one?module-path={}", text.display()), 3, "cannot be loaded"),
    ];
    for (uri, code, part) in cases {
        let ran = scene.refused(&mut scene.sign(&uri));
        assert_eq!(ran.code, code, "{ran}");
        // The order of objects is the token's own affair.
        let sorted = |text: &str| {
            let mut words: Vec<_> = text.split([' ', ',']).map(str::to_owned).collect();
            words.sort();
            words
        };
        let words = sorted(&ran.stderr.replace(['\n', ':'], " "));
        let found = sorted(&part.replace(':', " "))
            .iter()
            .all(|word| words.iter().any(|has| has.contains(word)));
        assert!(found, "{part:?} is not said: {ran}");
        assert!(ran.stderr.contains("\nHint: "), "{ran}");
    }
    scene.hsm.add_token("second").unwrap();
    let ran = scene.refused(&mut scene.sign(&scene.uri("object=one")));
    assert!(ran.stderr.contains("there are several such tokens: token="), "{ran}");
    scene.environment.ran(&mut scene.sign(&scene.uri("token=release;object=one"))).done();
}

#[test]
fn pins_come_from_everywhere_but_the_arguments() {
    let Some(scene) = Scene::new() else { return };
    scene.hsm.add_key("release", "signer", "01", "EC:prime256v1", true).unwrap();
    let uri = scene.uri("object=signer");
    let environment = &scene.environment;
    environment.write("pin", b"1234\n");
    let without = |key: &str| {
        let mut command = scene.osguard(None);
        command.args(["sign", "oci:image:v1", "--key", key]);
        command
    };
    environment.ran(without(&uri).args(["--passphrase-file", "pin"])).done();
    let source = format!("{uri}&pin-source=file:{}", environment.path("pin").display());
    environment.ran(&mut without(&source)).done();
    let mut by_descriptor = environment.program("/bin/sh");
    let (name, value) = scene.hsm.environment();
    by_descriptor.env(name, value).args(["-c", "\"$@\" 7<pin", "sh"]);
    by_descriptor.arg(scene.osguard(None).get_program());
    by_descriptor.args(["sign", "oci:image:v1", "--key", &uri, "--passphrase-fd", "7"]);
    environment.ran(&mut by_descriptor).done();

    let argument = scene.refused(&mut without(&format!("{uri}&pin-value=1234")));
    assert_eq!(argument.code, 2, "{argument}");
    assert!(argument.stderr.contains("can be read by everybody"), "{argument}");
    let missing = scene.refused(&mut without(&format!("{uri}&pin-source=/nonexistent")));
    assert!(
        missing.stderr.contains("wants a PIN, and there is none: cannot read /nonexistent"),
        "{missing}"
    );
    let Some(setsid) = or_skip(osguard_testkit::command::command("setsid")) else { return };
    let mut nobody = environment.wrapped(&setsid);
    nobody.env(name, scene.hsm.environment().1);
    let ran = scene.refused(nobody.args(["sign", "oci:image:v1", "--key", &uri]));
    assert!(ran.stderr.contains("there is none: cannot read it from a terminal"), "{ran}");
}

#[test]
fn wrong_pins_are_tried_once() {
    let Some(scene) = Scene::new() else { return };
    scene.hsm.add_key("release", "signer", "01", "EC:prime256v1", true).unwrap();
    let uri = scene.uri("object=signer");
    let wrong = |pin| {
        let mut command = scene.osguard(Some(pin));
        scene.refused(command.args(["sign", "oci:image:v1", "--key", &uri]))
    };
    for pin in ["9999", "x", ""] {
        let ran = wrong(pin);
        assert_eq!(ran.code, 2, "{ran}");
        assert!(ran.stderr.contains("the token \"release\" refuses the PIN"), "{ran}");
        assert!(!ran.stderr.contains("9999"), "{ran}");
    }
    scene.environment.ran(&mut scene.sign(&uri)).done();
}

#[test]
fn a_locked_pin_is_told() {
    let Some(scene) = Scene::new() else { return };
    scene.hsm.add_key("release", "signer", "01", "EC:prime256v1", true).unwrap();
    let Some((module, (name, value))) = or_skip(scene.hsm.module_with_locked_pin()) else { return };
    let uri = format!("pkcs11:object=signer?module-path={}", module.display());
    let ran = scene.refused(scene.sign(&uri).env(name, value));
    assert_eq!(ran.code, 1, "{ran}");
    assert!(
        ran.stderr.contains(
            "the PIN of the token \"release\" is locked, because too many wrong ones were tried"
        ),
        "{ran}"
    );
    assert!(ran.stderr.contains("Hint: The token's security officer sets a new one."), "{ran}");
}
