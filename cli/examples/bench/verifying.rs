//! Verifying: many signatures in one process, and one image whose layers are known.

use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use libverity::certificate::Certificate;
use libverity::digest::RootHash;
use libverity::pkcs7::{Embedding, sign_root_hash, verify_root_hash};
use libverity::signer::FileSigner;
use osguard_testkit::command::{self, command};

use crate::Bench;
use crate::image;
use crate::measure::{Cost, median, run};

const SIGNATURES: usize = 10_000;
/// Different messages, each verified many times: they are small, and nothing remembers them.
const MESSAGES: usize = 100;
const LAYERS: usize = 4;
const LAYER_BYTES: u64 = 64 << 20;
const ROUNDS: usize = 11;

pub(crate) fn measure(bench: &Bench) -> Result<(), Box<dyn Error>> {
    println!("\n### Verifying 10,000 signatures of root hashes in one process, on one core\n");
    println!(
        "| | with the certificate in it | without | `openssl speed`, the bare arithmetic |\n|---|---|---|---|"
    );
    for (name, kind, speed) in
        [("RSA-2048", "rsa-2048", "rsa2048"), ("P-256", "ec-p256", "ecdsap256")]
    {
        let key = bench.directory.path().join(kind);
        let mut generate = Command::new(&bench.osguard);
        command::run(generate.args(["key", "generate", "--kind", kind]).arg(&key))?;
        let [embedded, bare] =
            [Embedding::Certificate, Embedding::Nothing].map(|embedding| seconds(&key, embedding));
        let peer = SIGNATURES as f64 / openssl_verifications_per_second(speed)?;
        println!("| {name} | {:.2} s | {:.2} s | {peer:.2} s |", embedded?, bare?);
    }
    image_in_cache(bench)
}

/// Takes the time of all verifications.
fn seconds(key: &Path, embedding: Embedding<'_>) -> Result<f64, Box<dyn Error>> {
    let with = |ending| key.with_extension(ending);
    let signer =
        FileSigner::open(&with("key"), &with("crt"), &mut || unreachable!("no passphrase"))?;
    let anchors = [Certificate::from_file_contents(&std::fs::read(with("crt"))?)?];
    let mut messages = Vec::new();
    for number in 0..MESSAGES {
        let root_hash = RootHash::from_bytes([number as u8; 32]);
        let message = sign_root_hash(&root_hash, &signer, embedding)?;
        messages.push((root_hash, message));
    }
    let start = Instant::now();
    for (root_hash, message) in messages.iter().cycle().take(SIGNATURES) {
        black_box(verify_root_hash(root_hash, message, &anchors)?);
    }
    Ok(start.elapsed().as_secs_f64())
}

/// Asks OpenSSL, whose table ends in a line with the verifications per second at its end.
fn openssl_verifications_per_second(algorithm: &str) -> Result<f64, Box<dyn Error>> {
    let output = command::run(command("openssl")?.args(["speed", "-seconds", "2", algorithm]))?;
    let output = String::from_utf8(output)?;
    let line = output.lines().last().ok_or("openssl speed has printed nothing")?;
    Ok(line.split_whitespace().last().ok_or("an empty line")?.parse()?)
}

fn image_in_cache(bench: &Bench) -> Result<(), Box<dyn Error>> {
    let layout = bench.directory.path().join("verified");
    image::layout(&layout, LAYERS, LAYER_BYTES)?;
    let image = format!("oci:{}:v1", layout.display());
    let key = bench.directory.path().join("ec-p256");
    let caches = bench.directory.path().join("caches");
    let osguard = |arguments: &[&str]| {
        let mut osguard = Command::new(&bench.osguard);
        osguard.arg(arguments[0]).arg("--quiet").arg(&image).args(&arguments[1..]);
        osguard.env("XDG_CACHE_HOME", &caches);
        osguard
    };
    let verify = |how: &str| {
        let mut verify = osguard(&["verify", "--root-hash", how, "--trust"]);
        verify.arg(key.with_extension("crt"));
        verify
    };
    let sign = |more: &[&str]| {
        let mut sign = osguard(&["sign", "--key"]);
        sign.arg(key.with_extension("key")).args(more);
        sign
    };
    command::run(&mut sign(&[]))?;
    command::run(&mut verify("cached"))?;
    let measured: [(&str, Command); 4] = [
        ("reading, hashing and signing it, without writing anything", sign(&["--dry-run"])),
        ("`osguard verify`", verify("recompute")),
        ("`osguard verify --root-hash cached`", verify("cached")),
        ("`osguard verify --root-hash skip`", verify("skip")),
    ];
    let mut costs: [Vec<Cost>; 4] = Default::default();
    for _ in 0..ROUNDS {
        for ((_, command), costs) in measured.iter().zip(&mut costs) {
            costs.push(run(command)?);
        }
    }
    println!("\n### Verifying an image of {LAYERS} layers, 64 MiB each, in a layout directory\n");
    println!("| | time (median of {ROUNDS}) | peak memory |\n|---|---|---|");
    for ((name, _), costs) in measured.iter().zip(costs) {
        let cost = median(costs);
        println!("| {name} | {:.1} ms | {} MiB |", cost.seconds * 1000.0, cost.memory_kib >> 10);
    }
    Ok(())
}
