//! Signing 100 layers with a key in a file: what the key alone costs, and the whole command.

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use libverity::certificate::{KeyKind, generate};
use libverity::digest::RootHash;
use libverity::pkcs7::{Embedding, sign_root_hash};
use libverity::signer::FileSigner;
use osguard_testkit::command::{command, run_with_input};

use crate::Bench;
use crate::image;
use crate::measure::{Cost, median, run};

const LAYERS: usize = 100;
const LAYER_BYTES: u64 = 4096;
const ROUNDS: usize = 9;

pub(crate) fn measure(bench: &Bench) -> Result<(), Box<dyn Error>> {
    let layout = bench.directory.path().join("hundred");
    image::layout(&layout, LAYERS, LAYER_BYTES)?;
    let layout = format!("oci:{}:v1", layout.display());
    println!("\n### Signing {LAYERS} layers with a key in a file\n");
    println!(
        "| key | {LAYERS} signatures, made and verified | with `openssl smime`, one process each | \
         `osguard sign --dry-run` of {LAYERS} layers of {} KiB |\n|---|---|---|---|",
        LAYER_BYTES >> 10
    );
    for kind in
        [KeyKind::Rsa2048, KeyKind::Rsa4096, KeyKind::EcP256, KeyKind::EcP384, KeyKind::EcP521]
    {
        let at = |ending: &str| bench.directory.path().join(format!("{kind}.{ending}"));
        let (key, certificate) = (at("key"), at("crt"));
        let year = Duration::from_secs(365 * 86_400);
        generate(kind, "bench", SystemTime::now(), year)?.write(&key, &certificate, None)?;
        let ours = (0..ROUNDS).map(|_| signatures(&key, &certificate));
        let ours = middle(ours.collect::<Result<_, _>>()?);
        let openssl = openssl(&key, &certificate)?;
        let mut whole: Vec<Cost> = Vec::new();
        for _ in 0..ROUNDS {
            let mut sign = Command::new(&bench.osguard);
            sign.args(["sign", "--quiet", "--dry-run", &layout, "--key"]).arg(&key);
            whole.push(run(&sign)?);
        }
        let whole = Duration::from_secs_f64(median(whole).seconds);
        println!(
            "| {kind} | {} ms | {} ms ({:.1}) | {} ms |",
            ours.as_millis(),
            openssl.as_millis(),
            openssl.as_secs_f64() / ours.as_secs_f64(),
            whole.as_millis()
        );
    }
    Ok(())
}

/// Opens the key and signs as many root hashes as there are layers.
fn signatures(key: &Path, certificate: &Path) -> Result<Duration, Box<dyn Error>> {
    let started = Instant::now();
    let signer = FileSigner::open(key, certificate, &mut || unreachable!("it is not encrypted"))?;
    for layer in 0..LAYERS {
        sign_root_hash(&root_hash(layer), &signer, Embedding::Certificate)?;
    }
    Ok(started.elapsed())
}

fn openssl(key: &Path, certificate: &Path) -> Result<Duration, Box<dyn Error>> {
    let started = Instant::now();
    for layer in 0..LAYERS {
        let mut smime = command("openssl")?;
        smime.args(["smime", "-sign", "-binary", "-noattr", "-outform", "der", "-inkey"]).arg(key);
        run_with_input(
            smime.arg("-signer").arg(certificate),
            root_hash(layer).signed_text().as_bytes(),
        )?;
    }
    Ok(started.elapsed())
}

fn root_hash(layer: usize) -> RootHash {
    RootHash::from_bytes([layer as u8; 32])
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
