//! Health and metrics, and what keeps a daemon from starting.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;

use crate::daemon::Daemon;
use crate::layers::Layer;

#[tokio::test]
async fn health_and_metrics_are_shown() {
    let daemon = Daemon::start("prefer").await;
    let committed = daemon.unpack("default", &Layer::new("a"), None).await.unwrap();
    let _ = daemon.unpack("default", &Layer::new("b"), Some(&committed)).await.unwrap();
    assert!(get(&daemon, "/healthz").starts_with("HTTP/1.1 200"));
    // Without a device mapper nothing could be mounted.
    let ready = get(&daemon, "/readyz");
    let expected = if can_use_devices() { "HTTP/1.1 200" } else { "HTTP/1.1 503" };
    assert!(ready.starts_with(expected), "{ready}");
    let metrics = get(&daemon, "/metrics");
    for line in [
        "osguard_node_requests_total{method=\"Apply\",code=\"ok\"} 2",
        "osguard_node_snapshots 2",
        "osguard_node_layers{state=\"known\"} 2",
        "osguard_node_layers{state=\"mounted-signed\"} 0",
        "osguard_node_unpack_duration_seconds_count 2",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} in\n{metrics}");
    }
    assert!(get(&daemon, "/other").starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn a_second_daemon_does_not_start() {
    let daemon = Daemon::start("prefer").await;
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_osguard"))
            .args(["node", "run", "--config"])
            .arg(daemon.path("node.toml"))
            .args(arguments)
            .output()
            .unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, error) = run(&[]);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("does another daemon use them?"), "{error}");
    let elsewhere = daemon.path("elsewhere");
    let (code, error) = run(&["--root", elsewhere.to_str().unwrap()]);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("cannot listen on"), "{error}");
    assert_eq!(run(&["--check"]).0, 0);
    daemon.list(&[]).await.unwrap();
}

#[test]
fn a_wrong_configuration_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.toml");
    std::fs::write(&path, "[signatures]\nmode = \"maybe\"\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_osguard"))
        .args(["node", "run", "--check", "--config"])
        .arg(&path)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("node.toml") && error.contains("line 2"), "{error}");
}

fn can_use_devices() -> bool {
    std::fs::File::open("/dev/mapper/control").is_ok()
}

fn get(daemon: &Daemon, path: &str) -> String {
    let mut stream = UnixStream::connect(daemon.path("status.sock")).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
