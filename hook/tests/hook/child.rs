//! A hook in a process of its own, that can be killed.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use osguard_hook::allow_list::AllowList;
use osguard_hook::backoff::Backoff;
use osguard_hook::hook::{Hook, Settings};
use osguard_hook::queue::Limits;
use osguard_hook::token::Token;
use rustix::process::{Pid, Resource, Rlimit};

use crate::client::TOKEN;
use crate::diary::Diary;

/// Returns the settings of a hook that signs `team/**`.
pub(crate) fn settings(directory: &Path) -> Settings {
    let allowed = vec!["team/**".parse().unwrap()];
    let denied = vec!["team/secret".parse().unwrap()];
    Settings {
        listen: "127.0.0.1:0".parse().unwrap(),
        state: directory.join("state"),
        token: Some(Token::parse(TOKEN.as_bytes()).unwrap()),
        allow_list: AllowList::new(allowed, denied).unwrap(),
        workers: NonZeroUsize::new(2).unwrap(),
        limits: Limits::default(),
        backoff: Backoff {
            first: Duration::from_millis(20),
            longest: Duration::from_millis(200),
            ..Backoff::default()
        },
    }
}

/// Is a hook in a process of its own; it is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Process {
    /// Starts a hook on `directory`, which signs with a [`Diary`] that takes twice `half` for each
    /// signature, and waits until it listens.
    pub(crate) fn start(directory: &Path, half: Duration) -> Self {
        // A write beyond a limit shall be an error, as on a full disk, and not the end.
        let mut child = Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().unwrap())
            .args(["child::hook_in_a_process", "--exact", "--ignored", "--nocapture"])
            .env(DIRECTORY, directory)
            .env(HALF, half.as_millis().to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines
            .map_while(Result::ok)
            .find_map(|line| line.split_once(LISTENING)?.1.trim().parse().ok())
            .expect("the hook listens");
        Self { child, address }
    }

    /// Ends the process as `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Has the system refuse to write files beyond this length, or not any more.
    pub(crate) fn limit_files(&self, length_bytes: Option<u64>) {
        let pid = Pid::from_child(&self.child);
        let limit = Rlimit { current: length_bytes, maximum: None };
        rustix::process::prlimit(Some(pid), Resource::Fsize, limit).unwrap();
    }

    /// Returns how much memory the process has had at most, in bytes.
    pub(crate) fn peak_memory_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have been killed before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Is no test, but the process of [`Process`].
#[test]
#[ignore = "runs in a process of its own, which other tests start"]
fn hook_in_a_process() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let directory = Path::new(&directory);
    let half = std::env::var(HALF).unwrap().parse().unwrap();
    let diary = Diary { half: Duration::from_millis(half), ..Diary::open(directory) };
    let hook = Hook::open(settings(directory), Arc::new(diary)).unwrap();
    println!("{LISTENING}{}", hook.address().unwrap());
    hook.run_until_signalled().unwrap();
}

const DIRECTORY: &str = "OSGUARD_HOOK_TEST_DIRECTORY";
const HALF: &str = "OSGUARD_HOOK_TEST_HALF";
const LISTENING: &str = "listening on ";
