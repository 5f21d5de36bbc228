//! A thousand images that are pushed while the hook is away, and are there when it comes back.

use std::error::Error;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use libverity::digest::Digest;
use osguard_registry::descriptor::Descriptor;
use osguard_registry::media_type::MediaType;
use osguard_registry::network::Network;
use osguard_registry::place;
use osguard_registry::reference::Reference;
use osguard_testkit::docker_registry::DockerRegistry;
use osguard_testkit::image::TarMaker;
use osguard_testkit::pki::Signer;

use crate::Bench;
use crate::image::push_image;

const IMAGES: usize = 1000;
const TOKEN: &str = "a-token-for-the-benchmark";
const LONGEST: Duration = Duration::from_secs(600);

pub(crate) fn measure(bench: &Bench) -> Result<(), Box<dyn Error>> {
    let signer = Signer::generate("bench")?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let address = format!("127.0.0.1:{port}");
    let registry = DockerRegistry::builder()
        .notify(&format!("http://{address}/notifications"), TOKEN)
        .start()?;
    let reference: Reference = format!("{}/bench/app:v1", registry.host()).parse()?;
    let repository = place::open(&reference, &Network::default())?;
    let mut subjects = Vec::new();
    for number in 0..IMAGES {
        let tar = TarMaker::new().file("number", number.to_string().as_bytes()).finish();
        let layer = Descriptor::of(MediaType::OCI_LAYER, &tar);
        repository.push_blob(&layer, &tar.as_slice())?;
        let tag = format!("v{number}").parse()?;
        subjects.push(push_image(&*repository, &[layer], &[Digest::of(&tar)], &tag)?);
    }

    let mut command = Command::new(&bench.osguard);
    command.args(["hook", "serve", "--quiet", "--registry", registry.host()]);
    command.args(["--allow", "bench/**", "--listen", &address, "--state"]);
    command.arg(bench.directory.path().join("hook")).arg("--key").arg(signer.key_path());
    command.arg("--cert").arg(signer.certificate_path()).env("OSGUARD_HOOK_TOKEN", TOKEN);
    let start = Instant::now();
    let mut hook = Hook(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    while signed(&address).unwrap_or_default() < IMAGES {
        if start.elapsed() > LONGEST || hook.0.try_wait()?.is_some() {
            return Err("the hook did not sign all images".into());
        }
        sleep(Duration::from_millis(100));
    }
    let seconds = start.elapsed().as_secs_f64();
    let memory_kib = hook.peak_kib()?;
    let mut artifacts = 0;
    for subject in &subjects {
        artifacts += repository.referrers(subject.descriptor(), &[])?.len();
    }
    println!("\n### A thousand small images in the queue of `osguard hook serve` at once\n");
    println!("| | |\n|---|---|");
    println!("| images, signatures | {IMAGES}, {artifacts} |");
    println!("| time | {seconds:.1} s, {:.1} ms each |", seconds * 1000.0 / IMAGES as f64);
    println!("| peak memory | {:.0} MiB |", memory_kib as f64 / 1024.0);
    Ok(())
}

struct Hook(Child);

impl Hook {
    fn peak_kib(&self) -> Result<u64, Box<dyn Error>> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|peak| peak.trim().strip_suffix("kB")).ok_or("no VmHWM")?;
        Ok(peak.trim().parse()?)
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks the hook how many images it has signed.
fn signed(address: &str) -> Option<usize> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: hook\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let line = answer.lines().find(|line| line.contains("jobs_total{result=\"signed\"}"))?;
    line.rsplit(' ').next()?.parse().ok()
}
