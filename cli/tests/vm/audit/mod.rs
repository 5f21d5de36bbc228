//! Audit records of the real kernels: all kinds of them, read, followed, explained, and turned into advice.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use libverity::certificate::Certificate;
use osguard_policy::audit::reader::{Next, Reader};
use osguard_policy::audit::record::{Content, Hook};
use osguard_policy::node_description::NodeDescription;
use osguard_testkit::command::find;
use osguard_testkit::image::{Compression, LayerSource, LayoutMaker, TarHeader, TarMaker};
use osguard_testkit::vm::{Kernel, Outcome};
use osguard_testkit::{Error, Result, or_skip};
use serde_json::Value;

use crate::host::Host;
use crate::{failed, succeeded};

#[test]
fn vm_6_12_tells_why_it_denies() {
    tells_why_it_denies(Kernel::V6_12, "6.12");
}

/// Here system calls are audited as well.
#[test]
fn vm_7_2_tells_why_it_denies() {
    tells_why_it_denies(Kernel::V7_2, "7.2");
}

fn tells_why_it_denies(kernel: Kernel, name: &str) {
    let Some((outcome, host)) = or_skip(run(kernel)) else { return };
    println!("{name} took {:?}", outcome.wall_time);
    keep(&outcome, name);
    every_denial_is_one(&outcome);
    every_kind_is_read(&outcome, kernel);
    the_socket_tells_all(&outcome, kernel);
    the_journal_tells_the_same(&outcome);
    what_is_known_is_said(&outcome, &host.root_hashes("revoked")[0]);
    advice_is_narrow(&outcome);
    the_doctor_finds_what_undermines_it(&outcome, kernel);
    the_node_describes_itself(&outcome, &host, kernel);
    failed(&outcome, "no-such", 3, "the kernel's log has no such denial");
    failed(&outcome, "nobody", 1, "the audit socket may be read with CAP_AUDIT_READ only");
}

/// Writes the records to `testdata/audit` where `OSGUARD_KEEP_RECORDS` is set; other tests read them from there.
fn keep(outcome: &Outcome, name: &str) {
    if std::env::var_os("OSGUARD_KEEP_RECORDS").is_none() {
        return;
    }
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/audit");
    let lines = outcome.kernel_log.lines().filter(|line| line.contains("audit: "));
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    std::fs::create_dir_all(&directory).expect("a directory");
    std::fs::write(directory.join(format!("linux-{name}.log")), text).expect("a file");
}

fn every_denial_is_one(outcome: &Outcome) {
    for step in [
        "tmpfs",
        "space",
        "script",
        "unsigned-overlay",
        "unsigned-layer",
        "revoked",
        "upper",
        "copied-up",
        "long",
    ] {
        assert_eq!(outcome.step(step).exit_code, 126, "{step}: {}", outcome.console);
    }
    for step in [
        "anonymous-mmap",
        "anonymous-mprotect",
        "memfd",
        "shared-memory",
        "file-mmap",
        "module-file",
        "module-buffer",
    ] {
        succeeded(outcome, step);
    }
    // It ran, and busybox itself knows no command of that name.
    assert_eq!(outcome.step("permissive").exit_code, 127);
}

/// The kernel's log has them all, as printk's limit is off, and cuts one off.
fn every_kind_is_read(outcome: &Outcome, kernel: Kernel) {
    let mut reader = Reader::new(outcome.kernel_log.as_bytes());
    let mut kinds = Vec::new();
    loop {
        let record = match reader.next_record().expect("a text can be read") {
            Next::Record(record) => record,
            Next::End => break,
            other => panic!("{other:?}"),
        };
        kinds.push(match record.content {
            Content::Access(access) if access.is_cut_off => "cut off",
            Content::Access(access) => match access.hook {
                Hook::BprmCheck => "execution",
                Hook::Mmap => "mmap",
                Hook::Mprotect => "mprotect",
                Hook::KernelRead => "kernel read",
                Hook::KernelLoad => "kernel load",
                other => panic!("{other}"),
            },
            Content::ConfigChange(_) => "policy change",
            Content::PolicyLoad(load) if load.succeeded => "policy load",
            Content::PolicyLoad(_) => "policy refused",
            Content::Enforcement(_) => "enforcement",
            Content::SystemCall(_) => "system call",
            Content::Volume(_) => "volume",
            _ => "end",
        });
    }
    let count = |kind: &str| kinds.iter().filter(|found| **found == kind).count();
    for kind in ["mprotect", "kernel read", "kernel load"] {
        assert_eq!(count(kind), 1, "{kind}: {kinds:?}");
    }
    assert!(count("mmap") >= 4 && count("execution") >= 11, "{kinds:?}");
    assert_eq!((count("cut off"), count("policy load")), (1, 2));
    assert!(count("enforcement") >= 4, "{kinds:?}");
    assert_eq!(count("policy change"), 2);
    let audits_calls = kernel == Kernel::V7_2;
    assert_eq!(count("policy refused"), usize::from(audits_calls), "6.12 tells of successes only");
    assert_eq!(count("system call") > 0, audits_calls);
    assert_eq!(count("volume") > 0, audits_calls);
    let counts = reader.counts();
    assert_eq!((counts.malformed, counts.too_long), (0, 0));
}

/// The journal has every record twice, and each is told once.
fn the_journal_tells_the_same(outcome: &Outcome) {
    let accesses = |step: &str| {
        let events = events(outcome, step);
        let accesses = events
            .into_iter()
            .filter(|event| event["type"] == "access" && event["cut_off"] == false);
        accesses.collect::<Vec<_>>()
    };
    let named = |step: &str| -> Vec<(Value, Value)> {
        let name = |event: &Value| (event["event"].clone(), event["hook"].clone());
        accesses(step).iter().map(name).collect()
    };
    succeeded(outcome, "journal");
    let (journal, socket) = (named("journal"), named("followed"));
    assert!(socket.len() > 15);
    assert_eq!(journal, socket, "{}", outcome.console);
    // As text it does not tell the events, so that nothing can be told to be the same.
    let paths = |step: &str| -> BTreeSet<String> {
        accesses(step).iter().map(|event| event["path"].to_string()).collect()
    };
    assert_eq!(paths("journal-text"), paths("followed"));
}

/// Reads what a step has printed, an object a line.
fn events(outcome: &Outcome, step: &str) -> Vec<Value> {
    let text = outcome.step(step).stdout_text();
    text.lines().map(|line| serde_json::from_str(line).expect("each line is an object")).collect()
}

/// What the socket gave is what the log has, and not cut off.
fn the_socket_tells_all(outcome: &Outcome, kernel: Kernel) {
    let events = events(outcome, "followed");
    assert!(events.iter().all(|event| event["schema"] == "osguard.audit.tail.v1"));
    let of_type = |name: &str| events.iter().filter(|event| event["type"] == name).count();
    assert_eq!((of_type("policy-change"), of_type("enforcement")), (2, 2), "{}", outcome.console);
    let paths: Vec<_> = events.iter().filter_map(|event| event["path"].as_str()).collect();
    for path in ["/tmp/copy", "/tmp/with space", "/unsigned/bin/busybox", "/memfd:m (deleted)"] {
        assert!(paths.contains(&path), "{path} is not among {paths:?}");
    }
    let long = paths.iter().find(|path| path.len() > 1000).expect("the long path");
    assert!(long.ends_with("/copy"));
    assert!(events.iter().all(|event| event["cut_off"] != true));
    let allowed = events.iter().filter(|event| event["verdict"] == "allowed");
    assert!(allowed.clone().any(|event| event["rule"] == SIGNED_RULE), "{events:#?}");
    if kernel == Kernel::V7_2 {
        let has_parent = |event: &&Value| event["parent_pid"].is_u64();
        assert!(events.iter().any(|event| has_parent(&event)), "{events:#?}");
    }
}

fn what_is_known_is_said(outcome: &Outcome, revoked: &str) {
    for step in ["tail-log", "explain", "explain-container", "explain-revoked"] {
        succeeded(outcome, step);
    }
    let says = |step: &str, words: &str| {
        let text = outcome.step(step).stdout_text();
        assert!(text.contains(words), "{step} does not say {words:?}:\n{text}");
    };
    says("explain-revoked", &format!("dmverity_roothash=sha256:{revoked} action=DENY"));
    says("explain-revoked", "a dm-verity volume with a signature that the kernel verified");
    says("explain-revoked", "image    mounted at /revoked");
    says("explain-revoked", "the policy revokes it on purpose");
    says("explain-copied-up", "where a change (chmod, chown, a write) copied it");
    says("explain-layer", "a dm-verity volume without a signature");
    says("explain-layer", "layer    /node/store/layers/");
    says("explain", "DEFAULT op=EXECUTE action=DENY");
    says("explain", "of the policy)");
    says("explain", "the record is cut off");
    let explained: Value =
        serde_json::from_slice(&outcome.step("explain-container").stdout).expect("JSON");
    let denial = &explained["denials"][0];
    assert_eq!(denial["path"], "/bin/new");
    assert_eq!(denial["container"]["pod"], "shop/web-0", "{explained:#}");
    assert_eq!(denial["container"]["image"], "registry.example/web:v1");
    let place = denial["place"].as_str().expect("a place");
    assert!(place.ends_with("where it was made anew"), "{explained:#}");
}

fn advice_is_narrow(outcome: &Outcome) {
    for step in ["suggest", "suggest-json"] {
        succeeded(outcome, step);
    }
    let advice: Value = serde_json::from_slice(&outcome.step("suggest-json").stdout).expect("JSON");
    let suggestions = advice["suggestions"].as_array().expect("suggestions");
    let remedies: Vec<_> = suggestions.iter().filter_map(|one| one["remedy"].as_str()).collect();
    for remedy in [
        "put /tmp/copy into a signed image",
        "leave /writable/bin/busybox as it is in its image",
        "run perl without executable memory",
        "let the kernel read the file instead of passing its bytes",
    ] {
        assert!(remedies.contains(&remedy), "{remedy:?} is not among {remedies:#?}");
    }
    let of = |start: &str| remedies.iter().filter(|remedy| remedy.starts_with(start)).count();
    // The unsigned layer was met through its overlay and directly, which is one thing to sign.
    assert_eq!(of("sign the layer"), 1, "{remedies:#?}");
    assert_eq!(of("replace the layer"), 1);
    for suggestion in suggestions {
        let rule = suggestion["rule"].as_str().unwrap_or_default();
        assert!(!rule.starts_with("DEFAULT"), "{suggestion:#}");
    }
}

fn the_doctor_finds_what_undermines_it(outcome: &Outcome, kernel: Kernel) {
    for step in ["weaken", "multi-open", "multi-mount", "swap"] {
        succeeded(outcome, step);
    }
    for step in ["doctor", "doctor-again"] {
        assert_eq!(critical(outcome, step), [""; 0], "{step}");
        succeeded(outcome, step);
    }
    let expecting = outcome.step("doctor-expecting").stdout_text();
    assert!(
        expecting.contains("\"authority\"") && expecting.contains("which is not expected"),
        "{expecting}"
    );
    assert!(!expecting.contains("\"trusted\""), "{expecting}");
    let mut expected = vec![
        ("doctor-local", vec!["keyrings"]),
        ("doctor-weak", vec!["verity-tables"]),
        ("doctor-multi", vec!["erofs-mounts"]),
        ("doctor-swapped", vec!["verity-tables", "layers"]),
        ("doctor-off", vec!["policy", "verity-tables", "layers"]),
        ("doctor-sealed", vec![]),
    ];
    let has_keyring = kernel == Kernel::V7_2;
    expected.push(("doctor-unsealed", if has_keyring { vec!["keyrings"] } else { vec![] }));
    for (step, checks) in expected {
        assert_eq!(critical(outcome, step), checks, "{step}");
        assert_eq!(outcome.step(step).exit_code, if checks.is_empty() { 0 } else { 13 }, "{step}");
    }
}

/// What admission is told of this node is what its kernel trusts.
fn the_node_describes_itself(outcome: &Outcome, host: &Host, kernel: Kernel) {
    succeeded(outcome, "describe");
    let described =
        NodeDescription::parse(&outcome.step("describe").stdout).expect("a description");
    assert_eq!((described.name.as_str(), described.architecture.as_str()), ("worker-1", "amd64"));
    let version = described.kernel_version().expect("a version");
    assert!(if kernel == Kernel::V7_2 { version >= (7, 2) } else { version == (6, 12) });
    for (file, is_trusted) in
        [("trusted.crt", true), ("authority.crt", true), ("foreign.crt", false)]
    {
        let contents = std::fs::read(host.path(file)).expect("a certificate");
        let certificate = Certificate::from_file_contents(&contents).expect("a certificate");
        let is_there = described.identifiers().contains(&certificate.kernel_identifier());
        assert_eq!(is_there, is_trusted, "{file}: {described:#?}");
    }
}

/// Returns the checks that found something critical.
fn critical(outcome: &Outcome, step: &str) -> Vec<String> {
    let report: Value = serde_json::from_slice(&outcome.step(step).stdout).expect("JSON");
    let checks = report["checks"].as_array().expect("checks");
    for check in checks {
        assert!(check["unchecked"].is_null(), "{step}: {check:#}");
    }
    let is_critical = |check: &&Value| {
        let findings = check["findings"].as_array().expect("findings");
        findings.iter().any(|finding| finding["severity"] == "critical")
    };
    let names = checks.iter().filter(is_critical).filter_map(|check| check["check"].as_str());
    names.map(str::to_owned).collect()
}

fn run(kernel: Kernel) -> Result<(Outcome, Host)> {
    let host = Host::new()?;
    let busybox = std::fs::read(find("busybox")?).expect("busybox can be read");
    let mut images = LayoutMaker::new(host.path("images"))?;
    for tag in ["signed", "revoked", "unsigned"] {
        let program = TarHeader { mode: 0o755, ..TarHeader::file("bin/busybox") };
        let tar = TarMaker::new().directory("./", 0o755).directory("bin/", 0o755);
        let tar = tar.entry(program, &busybox).file(tag, b"");
        images.image(tag, &[LayerSource::new(tar.finish(), Compression::Gzip)?])?;
    }
    for tag in ["signed", "revoked"] {
        host.osguard(&["sign", &format!("oci:images:{tag}"), "--key", "trusted.key"]);
    }
    host.make_index_volume();
    std::fs::copy(host.path("trusted.crt"), host.path("images/trusted.crt")).expect("a copy");
    let revoked = &host.root_hashes("revoked")[0];
    let signed = &host.root_hashes("signed")[0];
    let mut machine = host.machine(kernel)?;
    for program in ["perl", "dmsetup", "keyctl", "journalctl"] {
        machine = machine.program(find(program)?);
    }
    machine = machine.program(journald()?);
    for (name, version) in [("audit-1", "2.0.1"), ("audit-2", "2.0.2")] {
        let text = format!("policies/{name}.pol");
        let new = ["policy", "new", "--name", "audit", "--policy-version", version];
        let rules = ["--boot-verified", "--guard", "KMODULE", "--revoke", revoked, &text];
        host.osguard(&[&new[..], &rules].concat());
        host.osguard(&["policy", "sign", &text, "--key", "trusted.key"]);
        let blob = format!("policies/{name}.p7b");
        machine = machine.file(&format!("/{blob}"), host.path(&blob));
    }
    machine = machine.contents("/etc/passwd", "nobody:x:65534:65534:nobody:/:/bin/sh\n");
    if kernel == Kernel::V7_2 {
        machine = machine.parameter("audit=1");
    }
    let script = include_str!("provoke.sh");
    let script = format!("REVOKED={revoked}\nSIGNED={signed}\n{script}");
    Ok((machine.script(script).run()?, host))
}

/// Finds the journal daemon, which is in nobody's path.
fn journald() -> Result<PathBuf> {
    let places = ["/usr/lib/systemd/systemd-journald", "/lib/systemd/systemd-journald"];
    let found = places.into_iter().map(PathBuf::from).find(|path| path.exists());
    found.ok_or_else(|| Error::Missing("systemd-journald".to_owned()))
}

const SIGNED_RULE: &str = "op=EXECUTE dmverity_signature=TRUE action=ALLOW";
