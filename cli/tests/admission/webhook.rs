//! A webhook as it is run: the program, its log and its metrics.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use osguard_testkit::test_pki::Identity;
use osguard_testkit::tls::TlsAuthority;
use serde_json::Value;

use crate::client::{Answer, Client};

/// Is a running `osguard admission serve`; it is killed when this is dropped.
pub(crate) struct Webhook {
    child: Child,
    pub(crate) address: SocketAddr,
    authority: PathBuf,
    log: Arc<Mutex<Vec<Value>>>,
}

impl Webhook {
    /// Starts a webhook with the configuration `admission.toml` in `directory`, and waits until it
    /// listens.
    pub(crate) fn start(directory: &Path, authority: &TlsAuthority, flags: &[&str]) -> Self {
        let server = authority.server().unwrap();
        Self::start_as(directory, authority, &server, flags)
    }

    /// As [`start`](Self::start), with this certificate.
    pub(crate) fn start_as(
        directory: &Path,
        authority: &TlsAuthority,
        server: &Identity,
        flags: &[&str],
    ) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_osguard"))
            .args(["admission", "serve", "--listen", "127.0.0.1:0", "--log-format", "json"])
            .args(["--verbose", "--config", "admission.toml", "--cert"])
            .arg(&server.certificate)
            .arg("--key")
            .arg(&server.key)
            .args(flags)
            .current_dir(directory)
            .env_clear()
            .env("HOME", directory)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let first = line(&mut lines).expect("the webhook says where it listens");
        let address = first["address"].as_str().and_then(|address| address.parse().ok());
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines_of_log = Arc::clone(&log);
        std::thread::spawn(move || {
            while let Some(line) = line(&mut lines) {
                lines_of_log.lock().unwrap().push(line);
            }
        });
        Self {
            child,
            address: address.unwrap_or_else(|| panic!("{first}")),
            authority: authority.certificate(),
            log,
        }
    }

    /// Connects to it.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address, &self.authority).unwrap()
    }

    /// Asks whether something may be done.
    #[track_caller]
    pub(crate) fn validate(&self, review: &Value) -> Value {
        self.post("/validate?timeout=10s", review.to_string().as_bytes()).response()
    }

    pub(crate) fn post(&self, path: &str, body: &[u8]) -> Answer {
        self.client().post(path, body).unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.client().get(path).unwrap()
    }

    /// Returns a metric by its name and labels.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let metrics = self.get("/metrics").body;
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
    }

    /// Returns the lines of the log about a request.
    pub(crate) fn log(&self, uid: &str) -> Vec<Value> {
        let lines = self.log.lock().unwrap();
        lines.iter().filter(|line| line["uid"] == uid).cloned().collect()
    }

    /// Returns all lines of the log so far.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.log.lock().unwrap().clone()
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Returns how much memory the process has had at most, in bytes.
    pub(crate) fn peak_memory_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for something that happens sooner or later.
#[track_caller]
pub(crate) fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let started = Instant::now();
    while !happened() {
        assert!(started.elapsed() < Duration::from_secs(600), "it does not happen that {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Reads a line of the log; a line that is cut off by a kill is the last one.
fn line(lines: &mut BufReader<ChildStderr>) -> Option<Value> {
    let mut line = String::new();
    lines.read_line(&mut line).ok()?;
    serde_json::from_str(&line).ok()
}
