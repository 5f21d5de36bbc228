//! Signing in two steps, with OpenSSL between them.

use osguard_testkit::command::{command, run_with_input};
use osguard_testkit::or_skip;
use serde_json::{Value, json};

use crate::environment::{Environment, Ran};
use crate::fixtures;

/// Makes an environment with the request for an image of two platforms.
fn prepared() -> Option<(Environment, Value)> {
    or_skip(command("openssl"))?;
    let environment = Environment::with_keys();
    fixtures::index(&environment);
    let prepare = ["sign", "oci:image:multi", "--prepare", "request.json", "--output", "json"];
    let report = environment.run(prepare).json();
    assert_eq!((&report["manifests"], &report["messages"]), (&json!(2), &json!(3)));
    let request = serde_json::from_slice(&environment.read("request.json")).unwrap();
    Some((environment, request))
}

fn openssl(environment: &Environment, key: &str, digest: &str, message: &[u8]) -> Vec<u8> {
    let mut openssl = command("openssl").unwrap();
    openssl.args(["dgst", digest, "-sign"]).arg(environment.path(key));
    run_with_input(&mut openssl, message).unwrap()
}

fn root_hashes(request: &Value) -> Vec<String> {
    let messages = request["messages"].as_array().unwrap();
    messages.iter().map(|message| message["root_hash"].as_str().unwrap().to_owned()).collect()
}

fn assemble(environment: &Environment, certificate: &str) -> Ran {
    environment.run([
        "sign",
        "oci:image:multi",
        "--assemble",
        "request.json",
        "--cert",
        certificate,
    ])
}

fn assemble_refused(environment: &Environment, certificate: &str) -> Ran {
    environment.refused([
        "sign",
        "oci:image:multi",
        "--assemble",
        "request.json",
        "--cert",
        certificate,
    ])
}

#[test]
fn signatures_beside_the_request_are_attached() {
    let Some((environment, request)) = prepared() else { return };
    for root_hash in root_hashes(&request) {
        let signature = openssl(&environment, "alice.key", "-sha256", root_hash.as_bytes());
        environment.write(format!("{root_hash}.sig"), &signature);
    }
    let signed = assemble(&environment, "alice.crt").done();
    assert!(signed.contains("Signer CN=alice"), "{signed}");
    environment.run(["verify", "oci:image:multi", "--trust", "alice.crt"]).done();
    // Byte for byte what the key itself would have made.
    let again = environment.run(["sign", "oci:image:multi", "--key", "alice.key"]).done();
    assert!(again.contains("Signed before"), "{again}");
}

#[test]
fn signatures_in_the_request_are_attached() {
    let Some((environment, mut request)) = prepared() else { return };
    let kinds = [("ec-p256", "-sha256"), ("ec-p384", "-sha384"), ("ec-p521", "-sha512")];
    for (number, message) in request["messages"].as_array_mut().unwrap().iter_mut().enumerate() {
        let (_, digest) = kinds[0];
        if number == 0 {
            for (kind, _) in kinds {
                environment.run(["key", "generate", kind, "--kind", kind]).done();
            }
        }
        let text = message["root_hash"].as_str().unwrap().to_owned();
        let der = openssl(&environment, "ec-p256.key", digest, text.as_bytes());
        let base64 = run_with_input(command("openssl").unwrap().arg("base64"), &der).unwrap();
        message["signature"] = json!(String::from_utf8(base64).unwrap());
    }
    environment.write("request.json", request.to_string().as_bytes());
    assemble(&environment, "ec-p256.crt").done();
    environment.run(["verify", "oci:image:multi", "--trust", "ec-p256.crt"]).done();
    for (kind, digest) in &kinds[1..] {
        for message in request["messages"].as_array_mut().unwrap() {
            message["signature"] = Value::Null;
            let text = message["root_hash"].as_str().unwrap();
            let signature = openssl(&environment, &format!("{kind}.key"), digest, text.as_bytes());
            environment.write(format!("{text}.sig"), &signature);
        }
        environment.write("request.json", request.to_string().as_bytes());
        let certificate = format!("{kind}.crt");
        assemble(&environment, &certificate).done();
        environment.run(["verify", "oci:image:multi", "--trust", &certificate]).done();
    }
}

#[test]
fn the_digests_in_the_request_are_those_of_its_messages() {
    let Some((_, request)) = prepared() else { return };
    for message in request["messages"].as_array().unwrap() {
        let text = message["root_hash"].as_str().unwrap().as_bytes();
        for name in ["sha256", "sha384", "sha512"] {
            let mut sum = command(&format!("{name}sum")).unwrap();
            let printed = String::from_utf8(run_with_input(&mut sum, text).unwrap()).unwrap();
            assert_eq!(printed.split(' ').next(), message[name].as_str());
        }
    }
}

#[test]
fn what_is_missing_or_wrong_is_told() {
    let Some((environment, request)) = prepared() else { return };
    let ran = assemble_refused(&environment, "alice.crt");
    assert!(ran.stderr.starts_with("Error: 3 of 3 signatures are missing, and "), "{ran}");
    let hashes = root_hashes(&request);
    let write_all = |key: &str, message: &dyn Fn(&str) -> Vec<u8>| {
        for hash in &hashes {
            let signature = openssl(&environment, key, "-sha256", &message(hash));
            environment.write(format!("{hash}.sig"), &signature);
        }
    };
    // The mistake that everybody makes once: a newline.
    write_all("alice.key", &|hash| format!("{hash}\n").into_bytes());
    let ran = assemble_refused(&environment, "alice.crt");
    assert!(ran.stderr.contains("would be refused by the kernel"), "{ran}");
    assert!(ran.stderr.contains("without a newline"), "{ran}");
    write_all("mallory.key", &|hash| hash.as_bytes().to_vec());
    let ran = assemble_refused(&environment, "alice.crt");
    assert!(ran.stderr.contains("would be refused by the kernel"), "{ran}");
    environment.write(format!("{}.sig", hashes[0]), b"short");
    let ran = assemble_refused(&environment, "alice.crt");
    assert!(ran.stderr.contains("5 bytes that are no signature"), "{ran}");
    let ran = environment.refused(["sign", "oci:image:multi", "--assemble", "request.json"]);
    assert!(ran.stderr.contains("the certificate of the key is missing"), "{ran}");
    let ran = environment.refused(["sign", "oci:image:multi", "--prepare", "request.json"]);
    assert!(ran.stderr.contains("choose another name"), "{ran}");

    write_all("alice.key", &|hash| hash.as_bytes().to_vec());
    for (from, to, part) in [
        ("osguard.signing-request.v1", "osguard.signing-request.v9", "schema"),
        ("\"profiles\"", "\"profile\"", "unknown field"),
    ] {
        let text = request.to_string().replace(from, to);
        environment.write("other.json", text.as_bytes());
        let ran = environment.refused([
            "sign",
            "oci:image:multi",
            "--assemble",
            "other.json",
            "--cert",
            "alice.crt",
        ]);
        assert!(ran.stderr.contains(part), "{ran}");
    }
}

#[test]
fn another_image_is_not_signed() {
    let Some((environment, request)) = prepared() else { return };
    for hash in root_hashes(&request) {
        let signature = openssl(&environment, "alice.key", "-sha256", hash.as_bytes());
        environment.write(format!("{hash}.sig"), &signature);
    }
    let ran = environment.refused([
        "sign",
        "oci:image:amd64",
        "--assemble",
        "request.json",
        "--cert",
        "alice.crt",
    ]);
    assert_eq!(ran.code, 12, "{ran}");
    assert!(ran.stderr.contains("is not the image sha256:"), "{ran}");
}

#[test]
fn a_policy_takes_a_signature_from_elsewhere() {
    if or_skip(command("openssl")).is_none() {
        return;
    }
    let environment = Environment::with_keys();
    environment.run(["policy", "new", "policy"]).done();
    let signature = openssl(&environment, "alice.key", "-sha256", &environment.read("policy"));
    environment.write("signature", &signature);
    let by_hand = ["policy", "sign", "policy", "1.p7b", "--signature", "signature", "--cert"];
    environment.run(by_hand.iter().chain(&["alice.crt"])).done();
    environment.run(["policy", "sign", "policy", "2.p7b", "--key", "alice.key"]).done();
    assert_eq!(environment.read("1.p7b"), environment.read("2.p7b"));
    let by_hand = ["policy", "sign", "policy", "3.p7b", "--signature", "signature", "--cert"];
    let ran = environment.refused(by_hand.iter().chain(&["mallory.crt"]));
    assert!(ran.stderr.contains("would be refused by the kernel"), "{ran}");
}
