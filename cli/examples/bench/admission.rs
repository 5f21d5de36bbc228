//! Reviews by `osguard admission serve`: from its start, of images that it does not know, at a steady rate, and as
//! many as it can answer.

use std::error::Error;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libverity::digest::Digest;
use osguard_registry::descriptor::Descriptor;
use osguard_registry::media_type::MediaType;
use osguard_registry::network::Network;
use osguard_registry::place;
use osguard_registry::reference::Reference;
use osguard_testkit::command::{command, run};
use osguard_testkit::image::TarMaker;
use osguard_testkit::pki::Signer;
use osguard_testkit::registry::Registry;
use serde_json::json;

use crate::Bench;
use crate::image::push_image;

#[path = "../../tests/admission/client.rs"]
#[expect(
    clippy::unwrap_used,
    dead_code,
    reason = "the client of the tests has more than is needed"
)]
pub(crate) mod client;

use client::Client;

const IMAGES: usize = 100;
const LAYERS: usize = 8;
const DIGESTS: usize = 10_000;
const SECONDS: u32 = 10;

pub(crate) fn measure(bench: &Bench) -> Result<(), Box<dyn Error>> {
    let directory = bench.directory.path().join("admission");
    fs::create_dir(&directory)?;
    let registry = Registry::start()?;
    let signer = Signer::generate("bench")?;
    configure(&directory, &signer, "")?;
    let digests = images(bench, &registry, &signer, IMAGES)?;

    println!("\n### `osguard admission serve`\n\n| | |\n|---|---|");
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let address: SocketAddr = format!("127.0.0.1:{port}").parse()?;
    let serve = || -> Result<Webhook, Box<dyn Error>> {
        let mut serve = Command::new(&bench.osguard);
        serve.args(["admission", "serve", "--quiet", "--config", "admission.toml", "--listen"]);
        serve.args([&address.to_string(), "--self-made", "authority", "--name", "127.0.0.1"]);
        let serve = serve.current_dir(&directory).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Webhook(serve.spawn()?))
    };
    // The first makes an authority, which is there ever after.
    drop((serve()?, connect(address, &directory)?));
    let started = Instant::now();
    let webhook = serve()?;
    let mut client = connect(address, &directory)?;
    println!("| start until it is ready | {:.0} ms |", started.elapsed().as_secs_f64() * 1000.0);

    let mut cold = Vec::new();
    for digest in &digests {
        let review = review(&format!("{}/bench/app@{digest}", registry.host()));
        let before = Instant::now();
        allowed(&mut client, &review)?;
        cold.push(before.elapsed().as_secs_f64() * 1000.0);
    }
    cold.sort_by(f64::total_cmp);
    let (median, worst) = (cold[cold.len() / 2], cold[cold.len() - 1]);
    println!(
        "| {IMAGES} images of {LAYERS} layers that it does not know | median {median:.1} ms, worst {worst:.1} ms |"
    );

    let known = review(&format!("{}/bench/app@{}", registry.host(), digests[0]));
    let url = format!("https://{address}/validate?timeout=10s");
    // Sixteen connections that wait 8 ms before each request make 2,000 a second.
    for (what, connections, delay) in
        [("at 2,000 requests a second", 16, 8), ("at its limit", 64, 0)]
    {
        let script = directory.join("script.lua");
        fs::write(&script, script_of(&known, delay))?;
        let mut wrk = command("wrk")?;
        wrk.args(["--latency", "--threads", "2", "--duration", &format!("{SECONDS}s")]);
        wrk.args(["--connections", &connections.to_string(), "--script"]).arg(&script).arg(&url);
        let printed = String::from_utf8(run(&mut wrk)?)?;
        let rate = word_behind(&printed, "Requests/sec:").ok_or("wrk says no rate")?;
        let p99 = word_behind(&printed, "99%").ok_or("wrk says no latency")?;
        if printed.contains("Non-2xx") || printed.contains("Socket errors") {
            return Err(printed.into());
        }
        println!("| an image that it knows, {what} | {rate} requests a second, p99 {p99} |");
    }

    remember(&registry, &digests[0], &mut client)?;
    let (now, peak) = webhook.memory_mib()?;
    println!("| memory with {DIGESTS} digests | {now:.0} MiB, {peak:.0} MiB at most |");
    Ok(())
}

/// Writes the configuration of a webhook that trusts `signer` for all images, with `more` at its end.
pub(crate) fn configure(
    directory: &Path,
    signer: &Signer,
    more: &str,
) -> Result<(), Box<dyn Error>> {
    fs::copy(signer.certificate_path(), directory.join("release.crt"))?;
    let trust = "version = 1\n[stores.a]\ncertificates = [\"release.crt\"]\n\
                 [[scopes]]\nrepositories = [\"**\"]\nstores = [\"a\"]\n";
    fs::write(directory.join("trust.toml"), trust)?;
    let start = "version = 1\ndefault = \"enforce\"\n[images]\ntrust = \"trust.toml\"\n";
    fs::write(directory.join("admission.toml"), format!("{start}{more}"))?;
    Ok(())
}

/// Pushes so many images that share no layer, and signs them; returns their digests.
pub(crate) fn images(
    bench: &Bench,
    registry: &Registry,
    signer: &Signer,
    count: usize,
) -> Result<Vec<Digest>, Box<dyn Error>> {
    let reference: Reference = format!("{}/bench/app:v0", registry.host()).parse()?;
    let repository = place::open(&reference, &Network::default())?;
    let mut digests = Vec::new();
    for image in 0..count {
        let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
        for layer in 0..LAYERS {
            let text = format!("layer {layer} of image {image}");
            let tar = TarMaker::new().file("text", text.as_bytes()).finish();
            let descriptor = Descriptor::of(MediaType::OCI_LAYER, &tar);
            repository.push_blob(&descriptor, &tar.as_slice())?;
            layers.push(descriptor);
            diff_ids.push(Digest::of(&tar));
        }
        let tag = format!("v{image}");
        let manifest = push_image(&*repository, &layers, &diff_ids, &tag.parse()?)?;
        digests.push(manifest.digest());
        let mut sign = Command::new(&bench.osguard);
        sign.args(["sign", "--quiet", &format!("{}/bench/app:{tag}", registry.host()), "--key"]);
        run(sign.arg(signer.key_path()).arg("--cert").arg(signer.certificate_path()))?;
    }
    Ok(digests)
}

/// Asks about so many indexes of one image, each with a digest of its own. The registry has a few of
/// them at a time: it looks through all that it has for each list of referrers.
fn remember(
    registry: &Registry,
    image: &Digest,
    client: &mut Client,
) -> Result<(), Box<dyn Error>> {
    let manifest = registry.manifest("bench/app", &image.to_string()).ok_or("the image is gone")?;
    let media_type = MediaType::OCI_INDEX;
    let put = |number: usize| {
        let index = json!({
            "schemaVersion": 2, "mediaType": media_type,
            "manifests": [{
                "mediaType": MediaType::OCI_MANIFEST, "digest": image, "size": manifest.contents.len(),
            }],
            "annotations": { "number": number.to_string() },
        });
        let index = index.to_string();
        registry.put_manifest("bench/app", None, media_type.as_str(), index.as_bytes())
    };
    for number in 0..DIGESTS {
        let digest = put(number);
        allowed(client, &review(&format!("{}/bench/app@{digest}", registry.host())))?;
        registry.delete_manifest("bench/app", &digest);
    }
    Ok(())
}

/// Connects as soon as it is ready.
fn connect(address: SocketAddr, directory: &Path) -> Result<Client, Box<dyn Error>> {
    let end = Instant::now() + Duration::from_secs(30);
    let authority = directory.join("authority/ca.crt");
    loop {
        if authority.exists()
            && let Ok(mut client) = Client::connect(address, &authority)
            && client.get("/readyz").is_ok_and(|answer| answer.status == 200)
        {
            return Ok(client);
        }
        if Instant::now() > end {
            return Err("the webhook is not ready".into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn allowed(client: &mut Client, review: &str) -> Result<(), Box<dyn Error>> {
    let answer = client.post("/validate?timeout=10s", review.as_bytes())?;
    match answer.body.contains("\"allowed\":true") {
        true => Ok(()),
        false => Err(answer.body.into()),
    }
}

/// Returns a request of the usual length, 5 KiB.
fn review(image: &str) -> String {
    let environment: Vec<_> = (0..40)
        .map(|number| json!({ "name": format!("VARIABLE_{number}"), "value": "x".repeat(60) }))
        .collect();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "web-5d8f", "namespace": "shop", "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "main", "image": image, "env": environment }] },
    });
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": { "group": "", "version": "v1", "kind": "Pod" },
            "namespace": "shop", "operation": "CREATE", "object": pod,
        },
    })
    .to_string()
}

fn script_of(review: &str, delay: u32) -> String {
    format!(
        "wrk.method = \"POST\"\nwrk.headers[\"Content-Type\"] = \"application/json\"\n\
         wrk.body = [==[{review}]==]\nfunction delay() return {delay} end\n"
    )
}

pub(crate) fn word_behind<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(start))?;
    line.split_whitespace().next()
}

pub(crate) struct Webhook(pub(crate) Child);

impl Webhook {
    /// Returns how much memory it has, and how much it had at most.
    pub(crate) fn memory_mib(&self) -> Result<(f64, f64), Box<dyn Error>> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let value = |name: &str| -> Result<f64, Box<dyn Error>> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.trim().strip_suffix("kB")).ok_or("no such line")?;
            Ok(kib.trim().parse::<f64>()? / 1024.0)
        };
        Ok((value("VmRSS:")?, value("VmHWM:")?))
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
