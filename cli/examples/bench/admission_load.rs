//! `osguard admission serve` under load for a minute at a time, each answer looked at: images that it knows and does not
//! know, a registry that is away, a certificate that changes, ten thousand connections, and slow clients.
//!
//! `OSGUARD_BENCH_SECONDS` has each take another time than 60 seconds.

use std::error::Error;
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use osguard_testkit::command::{command, run};
use osguard_testkit::pki::Signer;
use osguard_testkit::registry::Registry;
use osguard_testkit::tls::TlsAuthority;
use serde_json::json;

use crate::Bench;
use crate::admission::client::Client;
use crate::admission::{Webhook, configure, images, word_behind};

const IMAGES: usize = 100;
const CONNECTIONS: usize = 10_000;
const SLOW_CLIENTS: usize = 500;

pub(crate) fn measure_load(bench: &Bench) -> Result<(), Box<dyn Error>> {
    let scene = Scene::new(bench, "load", IMAGES)?;
    head("images that it knows and does not know");
    scene.load("known images", Requests { cold: 0, unsigned: 0 }, 64, false)?;
    scene.load("unknown images alone", Requests { cold: 100, unsigned: 0 }, 32, false)?;
    scene.load(
        "90 % known, 9 % unknown, 1 % unsigned",
        Requests { cold: 9, unsigned: 1 },
        64,
        false,
    )
}

pub(crate) fn measure_trouble(bench: &Bench) -> Result<(), Box<dyn Error>> {
    let mut scene = Scene::new(bench, "trouble", 10)?;
    head("trouble");
    let certificates = scene.directory.clone();
    let authority = &scene.authority;
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let renewing = scope.spawn(|| -> Result<usize, String> {
            let mut count = 0;
            while !is_over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_secs(6));
                let name = format!("renewed-{count}");
                let identity = authority.server_for(&name, &["127.0.0.1"]);
                let identity = identity.map_err(|error| error.to_string())?;
                place(&identity.certificate, &identity.key, &certificates)
                    .map_err(|error| error.to_string())?;
                count += 1;
            }
            Ok(count)
        });
        let what = "known images, a connection each, another certificate every 6 s";
        let loaded = scene.load(what, Requests { cold: 0, unsigned: 0 }, 32, true);
        is_over.store(true, Ordering::Relaxed);
        match renewing.join() {
            Ok(Ok(_)) => loaded,
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err("the thread that renews certificates has panicked".into()),
        }
    })?;
    scene.registry = None;
    let what = "no registry: 90 % known and passed, 10 % unknown and refused";
    scene.load(what, Requests { cold: 0, unsigned: 10 }, 64, false)
}

pub(crate) fn measure_crowd(bench: &Bench) -> Result<(), Box<dyn Error>> {
    let scene = Scene::new(bench, "crowd", 10)?;
    head("crowds");
    let what = format!("known images, beside {CONNECTIONS} connections that say nothing");
    scene.beside(&what, CONNECTIONS, &|_| Ok(Other::Silent(TcpStream::connect(scene.address)?)))?;
    let what = format!(
        "known images, beside {SLOW_CLIENTS} that send a byte a second of 8 MiB, or of a handshake"
    );
    scene.beside(&what, SLOW_CLIENTS, &|number| {
        let authority = scene.authority.certificate();
        if number % 2 == 0 {
            let mut stream = TcpStream::connect(scene.address)?;
            stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00][..number % 6])?;
            return Ok(Other::Silent(stream));
        }
        let mut client = Client::connect(scene.address, &authority)?;
        client.begin("/validate?timeout=10s", 8 << 20)?;
        Ok(Other::Sending(Box::new(client)))
    })
}

/// Is a connection that is of no use.
enum Other {
    Silent(TcpStream),
    Sending(Box<Client>),
}

impl Other {
    /// Tells whether the webhook has closed it.
    fn is_gone(&mut self) -> bool {
        match self {
            Self::Silent(stream) => {
                stream.set_nonblocking(true).is_err()
                    || match stream.read(&mut [0; 64]) {
                        Ok(0) => true,
                        Ok(_) => false,
                        Err(error) => error.kind() != ErrorKind::WouldBlock,
                    }
            }
            Self::Sending(client) => client.go_on(b" ").is_err(),
        }
    }
}

/// Says which requests are mixed, in percent; the rest is of images that are known.
#[derive(Clone, Copy)]
struct Requests {
    cold: u32,
    /// Images that have to be refused.
    unsigned: u32,
}

/// Is a webhook with a registry, and images in it.
struct Scene {
    directory: PathBuf,
    authority: TlsAuthority,
    registry: Option<Registry>,
    address: SocketAddr,
    webhook: Webhook,
    /// The names of the images, all of them judged.
    images: Vec<String>,
    unsigned: String,
    seconds: u64,
}

impl Scene {
    fn new(bench: &Bench, name: &str, count: usize) -> Result<Self, Box<dyn Error>> {
        let directory = bench.directory.path().join(name);
        fs::create_dir(&directory)?;
        let registry = Registry::start()?;
        let signer = Signer::generate("bench")?;
        configure(&directory, &signer, "[cache]\nbad-seconds = 1\n")?;
        let digests = images(bench, &registry, &signer, count)?;
        let manifest = registry.manifest("bench/app", "v0").ok_or("the image is gone")?;
        let mut other = manifest.json();
        other["annotations"] = json!({ "note": "nobody has signed this" });
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let unsigned =
            registry.put_manifest("bench/app", None, media_type, other.to_string().as_bytes());
        let image =
            |digest: &dyn std::fmt::Display| format!("{}/bench/app@{digest}", registry.host());
        let unsigned = image(&unsigned);
        let images: Vec<String> = digests.iter().map(|digest| image(digest)).collect();

        let authority = TlsAuthority::new()?;
        let identity = authority.server_for("first", &["127.0.0.1"])?;
        place(&identity.certificate, &identity.key, &directory)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address: SocketAddr = format!("127.0.0.1:{port}").parse()?;
        let mut serve = Command::new(&bench.osguard);
        serve.args(["admission", "serve", "--quiet", "--config", "admission.toml", "--listen"]);
        serve.args([&address.to_string(), "--cert", "tls.crt", "--key", "tls.key"]);
        serve.current_dir(&directory).stdout(Stdio::null()).stderr(Stdio::null());
        let webhook = Webhook(serve.spawn()?);
        let seconds = std::env::var("OSGUARD_BENCH_SECONDS").ok();
        let seconds = seconds.map_or(Ok(60), |seconds| seconds.parse())?;
        let registry = Some(registry);
        let scene =
            Self { directory, authority, registry, address, webhook, images, unsigned, seconds };
        let mut client = scene.connect()?;
        for image in &scene.images {
            let review = review("ok-known", image, "amd64");
            let answer = client.post("/validate?timeout=10s", review.as_bytes())?;
            if !answer.body.contains("\"allowed\":true") {
                return Err(answer.body.into());
            }
        }
        Ok(scene)
    }

    fn connect(&self) -> Result<Client, Box<dyn Error>> {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            if let Ok(client) = Client::connect(self.address, &self.authority.certificate()) {
                return Ok(client);
            }
            if Instant::now() > end {
                return Err("the webhook is not ready".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Runs wrk, which looks at each answer, and prints a line.
    fn load(
        &self,
        what: &str,
        requests: Requests,
        connections: usize,
        is_closed: bool,
    ) -> Result<(), Box<dyn Error>> {
        let script = self.directory.join("load.lua");
        fs::write(&script, self.script(requests, is_closed))?;
        let mut wrk = command("wrk")?;
        wrk.args(["--latency", "--threads", "2", "--timeout", "10s", "--duration"]);
        wrk.args([&format!("{}s", self.seconds), "--connections", &connections.to_string()]);
        wrk.arg("--script").arg(&script).arg(format!("https://{}", self.address));
        let printed = String::from_utf8(run(&mut wrk)?)?;
        let word =
            |start| word_behind(&printed, start).ok_or_else(|| format!("no {start} in {printed}"));
        let (answers, rate, p99) = (word("answers")?, word("Requests/sec:")?, word("99%")?);
        let (wrong, lost) = (word("wrong")?, word("lost")?);
        let (now, peak) = self.webhook.memory_mib()?;
        println!(
            "| {what} | {answers} | {rate}/s | {p99} | {wrong} | {lost} | {now:.0} MiB, {peak:.0} MiB |"
        );
        match (wrong, lost) {
            ("0", "0") => Ok(()),
            _ => Err(printed.into()),
        }
    }

    /// Loads it beside others, who come again when they are sent away.
    fn beside(
        &self,
        what: &str,
        count: usize,
        connect: &(dyn Fn(usize) -> std::io::Result<Other> + Sync),
    ) -> Result<(), Box<dyn Error>> {
        let (is_over, is_there) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let others = scope.spawn(|| {
                let mut others: Vec<Option<Other>> = (0..count).map(|_| None).collect();
                while !is_over.load(Ordering::Relaxed) {
                    for (number, slot) in others.iter_mut().enumerate() {
                        if slot.as_mut().is_none_or(Other::is_gone) {
                            *slot = connect(number).ok();
                        }
                        if is_over.load(Ordering::Relaxed) {
                            return;
                        }
                    }
                    is_there.store(true, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_secs(1));
                }
            });
            // The crowd is there before the load.
            while !is_there.load(Ordering::Relaxed) && !others.is_finished() {
                std::thread::sleep(Duration::from_millis(10));
            }
            let loaded = self.load(what, Requests { cold: 0, unsigned: 0 }, 64, false);
            is_over.store(true, Ordering::Relaxed);
            let _ = others.join();
            loaded
        })
    }

    /// Returns what wrk runs: the identifier of a request says how it has to be answered.
    fn script(&self, requests: Requests, is_closed: bool) -> String {
        let Requests { cold, unsigned } = requests;
        let known: Vec<String> = self
            .images
            .iter()
            .map(|image| format!("[==[{}]==]", review("ok-known", image, "amd64")))
            .collect();
        let cold_ones: Vec<String> = self
            .images
            .iter()
            .map(|image| format!("[==[{}]==]", review("ok-cold", image, "NUMBER")))
            .collect();
        let refused = match self.registry {
            Some(_) => review("no-unsigned", &self.unsigned, "amd64"),
            // Nobody has asked for it before.
            None => review("no-unknown", &self.unsigned, "s390x"),
        };
        let close = if is_closed { "headers[\"Connection\"] = \"close\"" } else { "" };
        format!(
            r#"
local known = {{ {known} }}
local cold = {{ {cold_ones} }}
local refused = [==[{refused}]==]
local headers = {{ ["Content-Type"] = "application/json" }}
{close}
local path = "/validate?timeout=10s"
local threads = {{}}
local started = 0
function setup(thread)
  started = started + 1
  thread:set("number", started)
  table.insert(threads, thread)
end
function init(args)
  answers, wrong, count = 0, 0, 0
  math.randomseed(number)
  prepared = {{}}
  for i, body in ipairs(known) do prepared[i] = wrk.format("POST", path, headers, body) end
  prepared_refused = wrk.format("POST", path, headers, refused)
end
function request()
  count = count + 1
  local dice = math.random(100)
  if dice <= {unsigned} then return prepared_refused end
  if dice <= {unsigned} + {cold} then
    -- Each for other nodes, so that it is another question.
    local body = cold[count % #cold + 1]:gsub("NUMBER", string.format("%02d%010d", number, count))
    return wrk.format("POST", path, headers, body)
  end
  return prepared[count % #prepared + 1]
end
function response(status, headers, body)
  answers = answers + 1
  local is_allowed = body:find('"allowed":true', 1, true) ~= nil
  local is_right = status == 200
  if body:find('"uid":"ok-', 1, true) then is_right = is_right and is_allowed
  else is_right = is_right and body:find('"uid":"no-', 1, true) ~= nil and not is_allowed end
  if not is_right then
    if wrong < 3 then print(status, body) end
    wrong = wrong + 1
  end
end
function done(summary, latency, requests)
  local answers, wrong = 0, 0
  for _, thread in ipairs(threads) do
    answers = answers + thread:get("answers")
    wrong = wrong + thread:get("wrong")
  end
  local errors = summary.errors
  print("answers " .. answers)
  print("wrong " .. wrong)
  print("lost " .. errors.connect + errors.read + errors.write + errors.timeout)
end
"#,
            known = known.join(", "),
            cold_ones = cold_ones.join(", "),
        )
    }
}

fn head(what: &str) {
    println!(
        "\n### `osguard admission serve`, {what}\n\n\
         | | answers | rate | p99 | wrong | lost | memory at the end, at most |\n|---|---|---|---|---|---|---|"
    );
}

/// Renews a certificate as an operator would: both files, each at once.
fn place(certificate: &Path, key: &Path, directory: &Path) -> std::io::Result<()> {
    for (source, name) in [(certificate, "tls.crt"), (key, "tls.key")] {
        let beside = directory.join("new");
        fs::copy(source, &beside)?;
        fs::rename(&beside, directory.join(name))?;
    }
    Ok(())
}

/// Returns a request of the usual length, 4 KiB.
fn review(uid: &str, image: &str, architecture: &str) -> String {
    let environment: Vec<_> = (0..40)
        .map(|number| json!({ "name": format!("VARIABLE_{number}"), "value": "x".repeat(60) }))
        .collect();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "web-5d8f", "namespace": "shop", "labels": { "app": "web" } },
        "spec": {
            "nodeSelector": { "kubernetes.io/arch": architecture },
            "containers": [{ "name": "main", "image": image, "env": environment }],
        },
    });
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": uid, "kind": { "group": "", "version": "v1", "kind": "Pod" },
            "namespace": "shop", "operation": "CREATE", "object": pod,
        },
    })
    .to_string()
}
