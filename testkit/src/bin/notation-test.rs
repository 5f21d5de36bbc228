//! A signing plugin of the notation project for the tests, which misbehaves as told.
//!
//! `pluginConfig` tells it where the key is (`key`, `certificate`: files in PEM) and how to behave
//! (`behaviour`): `slow`, `nonsense`, `gigabyte`, `fails`, `silent`, `envelope`, `rsa`,
//! `other-signature`, `no-certificate`.

use std::error::Error;
use std::io::{self, Read as _, Write as _};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use base64ct::{Base64, Encoding as _};
use serde_json::{Value, json};

fn main() -> ExitCode {
    match answer() {
        Ok(answer) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!(
                "{}",
                json!({ "errorCode": "VALIDATION_ERROR", "errorMessage": error.to_string() })
            );
            ExitCode::FAILURE
        }
    }
}

fn answer() -> Result<Value, Box<dyn Error>> {
    let command = std::env::args().nth(1).ok_or("no command")?;
    let mut question = Vec::new();
    io::stdin().read_to_end(&mut question)?;
    let question: Value = serde_json::from_slice(&question)?;
    let config =
        |name: &str| question["pluginConfig"][name].as_str().unwrap_or_default().to_owned();
    let behaviour = config("behaviour");
    match behaviour.as_str() {
        "slow" => std::thread::sleep(Duration::from_secs(3600)),
        "nonsense" => return Ok(json!("nonsense")),
        "silent" => std::process::exit(7),
        "fails" => return Err("the key\nis not\x1b[31m for you".into()),
        "gigabyte" => {
            let chunk = vec![b' '; 1 << 20];
            for _ in 0..1024 {
                io::stdout().write_all(&chunk)?;
            }
        }
        _ => {}
    }
    let key_id = &question["keyId"];
    match command.as_str() {
        "get-plugin-metadata" => {
            let kind = if behaviour == "envelope" { "ENVELOPE" } else { "RAW" };
            Ok(json!({
                "name": "test", "description": "for tests", "version": "1.0.0", "url": "about:blank",
                "supportedContractVersions": ["1.0"],
                "capabilities": [format!("SIGNATURE_GENERATOR.{kind}")],
            }))
        }
        "describe-key" => {
            let spec = if behaviour == "rsa" { "RSA-2048" } else { "EC-256" };
            Ok(json!({ "keyId": key_id, "keySpec": spec }))
        }
        "generate-signature" => {
            let payload = Base64::decode_vec(question["payload"].as_str().unwrap_or_default())?;
            let payload = if behaviour == "other-signature" { b"other".to_vec() } else { payload };
            let signature = raw(&sign(&config("key"), &payload)?)?;
            let pem = std::fs::read_to_string(config("certificate"))?;
            let chain: Vec<String> = pem
                .split("-----BEGIN CERTIFICATE-----")
                .skip(1)
                .filter_map(|block| block.split("-----END").next())
                .map(|base64| base64.split_whitespace().collect())
                .collect();
            let chain = if behaviour == "no-certificate" { Vec::new() } else { chain };
            Ok(json!({
                "keyId": key_id,
                "signature": Base64::encode_string(&signature),
                "signingAlgorithm": "ECDSA-SHA-256",
                "certificateChain": chain,
            }))
        }
        other => Err(format!("unknown command {other}").into()),
    }
}

/// Signs with OpenSSL, in DER.
fn sign(key: &str, payload: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut openssl = Command::new("/usr/bin/openssl")
        .args(["dgst", "-sha256", "-sign", key])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    openssl.stdin.take().ok_or("no input")?.write_all(payload)?;
    let output = openssl.wait_with_output()?;
    if output.status.success() { Ok(output.stdout) } else { Err("openssl failed".into()) }
}

/// Takes both numbers out of DER, 32 bytes each.
fn raw(der: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut raw = Vec::new();
    let mut rest = der.get(2..).ok_or("too short")?;
    for _ in 0..2 {
        let (&[_, length], tail) = rest.split_first_chunk().ok_or("too short")?;
        let (number, tail) = tail.split_at(usize::from(length));
        let number = number.strip_prefix(&[0]).unwrap_or(number);
        raw.extend(vec![0; 32 - number.len()]);
        raw.extend(number);
        rest = tail;
    }
    Ok(raw)
}
