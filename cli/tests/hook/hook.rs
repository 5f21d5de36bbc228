//! A hook as it is run: the program, its log and its metrics.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) const TOKEN: &str = "the-token-of-the-tests";

/// Is a running `osguard hook serve`; it is killed when this is dropped.
pub(crate) struct Hook {
    child: Child,
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<Vec<Value>>>,
}

impl Hook {
    /// Starts a hook that keeps its queue in `directory` and signs `team/**` in `registry` with the
    /// key of alice, and waits until it listens.
    pub(crate) fn start(directory: &Path, registry: &str) -> Self {
        let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/keys");
        let mut child = Command::new(env!("CARGO_BIN_EXE_osguard"))
            .args(["hook", "serve", "--listen", "127.0.0.1:0", "--log-format", "json"])
            .args(["--registry", registry, "--allow", "team/**", "--deny", "team/secret"])
            .arg("--key")
            .arg(keys.join("alice.key"))
            .arg("--state")
            .arg(directory.join("hook"))
            .env_clear()
            .env("HOME", directory)
            .env("OSGUARD_HOOK_TOKEN", TOKEN)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let first = line(&mut lines).expect("the hook says where it listens");
        let address = first["address"].as_str().and_then(|address| address.parse().ok());
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines_of_log = Arc::clone(&log);
        std::thread::spawn(move || {
            while let Some(line) = line(&mut lines) {
                lines_of_log.lock().unwrap().push(line);
            }
        });
        Self { child, address: address.unwrap_or_else(|| panic!("{first}")), log }
    }

    /// Ends the hook as `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks the hook to end, and waits for it.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.child.wait().unwrap()
    }

    /// Returns the lines of the log with this message.
    pub(crate) fn log(&self, message: &str) -> Vec<Value> {
        let lines = self.log.lock().unwrap();
        lines.iter().filter(|line| line["message"] == message).cloned().collect()
    }

    /// Returns a metric by its name and labels.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let metrics = self.get("/metrics");
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
    }

    /// Tells how many attempts have ended in this way.
    pub(crate) fn jobs(&self, result: &str) -> u64 {
        self.metric(&format!("osguard_hook_jobs_total{{result=\"{result}\"}}"))
    }

    /// Tells whether nothing is left to do.
    pub(crate) fn is_idle(&self) -> bool {
        ["waiting", "running"]
            .iter()
            .all(|state| self.metric(&format!("osguard_hook_queue{{state=\"{state}\"}}")) == 0)
    }

    /// Returns how much memory the process has had at most, in bytes.
    pub(crate) fn peak_memory_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    pub(crate) fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: hook\r\nConnection: close\r\n\
             Authorization: Bearer {TOKEN}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for something that happens sooner or later.
#[track_caller]
pub(crate) fn until(what: &str, happened: impl Fn() -> bool) {
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
