//! Disks that fill up, fail or cannot be written any more, in the middle of what the daemon does. The answers of the kernel
//! are those of a failing disk, given by strace; real disks that fail are in the virtual machine.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use osguard_testkit::command::command;
use osguard_testkit::or_skip;
use tonic::Code;

use crate::daemon::{Daemon, until};
use crate::layers::Layer;

#[tokio::test]
async fn a_disk_that_fails_while_a_layer_is_written_leaves_nothing_of_it() {
    for (calls, error, code) in [
        ("write,pwrite64", "ENOSPC", Code::ResourceExhausted),
        ("write,pwrite64", "EIO", Code::Internal),
        ("fsync", "EIO", Code::Internal),
        ("rename", "EROFS", Code::FailedPrecondition),
    ] {
        for number in [1, 2, 3] {
            if number > 1 && !calls.contains("write") {
                continue;
            }
            let mut daemon = Daemon::start("prefer").await;
            let before = daemon.unpack("default", &Layer::new("before"), None).await.unwrap();
            let layer = Layer::new(&noise());
            let unpack = daemon.begin("default", &layer, None).await;
            let partial = format!("root/layers/{}-containerd-full-v1.partial", layer.digest.hex());
            let fault = format!("{calls}:error={error}:when={number}+");
            let Some(faults) = Faults::begin(&daemon, &fault, &daemon.path(&partial)).await else {
                return;
            };
            let applied = daemon.apply(layer.descriptor(), unpack.mounts.clone()).await;
            let refused = applied.expect_err(&fault);
            assert_eq!(refused.code(), code, "{fault}: {refused}");
            assert!(refused.message().contains(&layer.digest.hex()), "{refused}");
            until(|| daemon.files("root/layers").len() == 1).await;
            let refused = daemon.commit(&unpack.name, &unpack.key).await.unwrap_err();
            assert_eq!(refused.code(), Code::FailedPrecondition);

            faults.end(&daemon).await;
            daemon.kill_and_restart().await;
            daemon.stat(&before.name).await.unwrap();
            daemon.apply(layer.descriptor(), unpack.mounts).await.unwrap();
            daemon.commit(&unpack.name, &unpack.key).await.unwrap();
        }
    }
}

#[tokio::test]
async fn records_that_cannot_be_written_are_answered_with_an_error_and_opened_anew() {
    for (calls, error, code) in [
        ("pwrite64,ftruncate,fallocate", "ENOSPC", Code::ResourceExhausted),
        ("fdatasync,fsync", "EIO", Code::Internal),
        ("pwrite64,fdatasync,ftruncate", "EROFS", Code::FailedPrecondition),
    ] {
        for number in [1, 2, 3] {
            let mut daemon = Daemon::start("prefer").await;
            let before = daemon.unpack("default", &Layer::new("before"), None).await.unwrap();
            let fault = format!("{calls}:error={error}:when={number}+");
            let records = daemon.path("root/records.redb");
            let Some(faults) = Faults::begin(&daemon, &fault, &records).await else { return };
            // The first get through: strace counts the calls of each thread by itself, and the daemon's threads take turns.
            let mut attempts =
                (0..MOST_ATTEMPTS).map(|attempt| format!("default/9/container-{attempt}"));
            let mut kept = Vec::new();
            let (refused, first) = loop {
                let key = attempts.next().unwrap_or_else(|| panic!("{fault} was not noticed"));
                match daemon.prepare(&key, "").await {
                    Ok(_) => kept.push(key),
                    Err(refusal) => break (key, refusal),
                }
            };
            assert_eq!(first.code(), code, "{fault}: {first}");
            let mut refused = vec![refused];
            for key in attempts.take(3) {
                match daemon.prepare(&key, "").await {
                    Ok(_) => kept.push(key),
                    Err(_) => refused.push(key),
                }
            }

            faults.end(&daemon).await;
            daemon.prepare("default/9/afterwards", "").await.unwrap();
            daemon.kill_and_restart().await;
            for name in kept.iter().chain([&before.name, &"default/9/afterwards".to_owned()]) {
                daemon.stat(name).await.unwrap();
            }
            // What was refused may have reached the disk all the same; containerd removes what it does not know.
            for key in kept.into_iter().chain(refused) {
                let exists = daemon.prepare(&key, "").await.err();
                assert!(exists.is_none_or(|error| error.code() == Code::AlreadyExists));
                daemon.remove(&key).await.unwrap();
            }
        }
    }
}

/// Is more than three calls in each of the daemon's 128 threads for what blocks.
const MOST_ATTEMPTS: usize = 400;

/// Is a strace that lets system calls on a file fail, in all threads of the daemon.
struct Faults(Child);

impl Faults {
    /// Begins with `fault`, as strace's `inject` takes it; returns `None` where there is no strace.
    async fn begin(daemon: &Daemon, fault: &str, file: &Path) -> Option<Self> {
        let mut strace: Command = or_skip(command("strace"))?;
        let calls = fault.split(':').next().unwrap();
        strace.args(["--quiet=all", "-f", "--output=/dev/null", "-p", &daemon.id().to_string()]);
        strace.arg(format!("--trace={calls}")).arg(format!("--inject={fault}"));
        strace.arg(format!("--trace-path={}", file.display()));
        let strace = strace.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        until(|| daemon.is_traced(true)).await;
        Some(Self(strace))
    }

    /// Ends them; the daemon goes on.
    async fn end(mut self, daemon: &Daemon) {
        let id = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        self.0.wait().unwrap();
        until(|| daemon.is_traced(false)).await;
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Makes text that does not compress well, so that a layer of it is written in several pieces.
fn noise() -> String {
    let mut state = 1_u64;
    let words = (0..200_000).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        format!("{:x}", state >> 32)
    });
    words.collect()
}
