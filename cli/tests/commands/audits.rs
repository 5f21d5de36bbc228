//! `osguard audit` on logs, and `osguard node doctor` where it cannot look.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use insta::assert_snapshot;

use crate::environment::{Environment, Ran};

const TMPFS: &str = "type=IPE_ACCESS msg=audit(1795425188.368:4): ipe_op=EXECUTE ipe_hook=BPRM_CHECK enforcing=1 \
    pid=498 comm=\"sh\" path=\"/run/hello\" dev=\"tmpfs\" ino=3 rule=\"DEFAULT op=EXECUTE action=DENY\"\n";

const POLICY: &[u8] = b"policy_name=t policy_version=1.0.0\nDEFAULT action=ALLOW\n\
    DEFAULT op=EXECUTE action=DENY\nop=EXECUTE dmverity_roothash=sha256:ab action=ALLOW\n";

#[test]
fn a_denial_is_explained() {
    let environment = Environment::new();
    environment.write("audit.log", TMPFS.repeat(3).replacen(":4)", ":3)", 1).as_bytes());
    environment.write("node.policy", POLICY);
    assert_snapshot!(environment.run(["audit", "explain", "audit.log", "--policy", "node.policy"]), @"
    Execution of /run/hello by sh (process 498) was denied, 2 times
      rule     DEFAULT op=EXECUTE action=DENY: no rule for EXECUTE is true of it, and then it is denied; it is on no dm-verity volume, so nothing about it is signed (line 3 of the policy)
      place    the file lies in a file system without a device (tmpfs)
      time     2026-11-23 09:13:08.368Z (event 1795425188.368:4)
      unknown  nothing was looked up: the records may be of another machine (--here says that they are not)
      remedy   put /run/hello into a signed image
                 put the file into the image when it is built
                 osguard sign IMAGE --key KEY
                 mount it again (`osguard node mount`)
                 NOT ENOUGH: the policy allows only volumes that it names; its root hash has to be added
    ");
    assert_snapshot!(environment.run(["audit", "suggest", "audit.log"]), @"
    1. put /run/hello into a signed image (2 denials)
          put the file into the image when it is built
          osguard sign IMAGE --key KEY
          mount it again (`osguard node mount`)
       for example: Execution of /run/hello by sh (process 498) was denied
    ");
    assert_snapshot!(environment.run(["audit", "tail", "audit.log", "--no-follow"]), @"
    2026-11-23 09:13:08.368Z  DENIED  EXECUTE /run/hello by sh (498): in a file system without a device (tmpfs)
    2026-11-23 09:13:08.368Z  DENIED  EXECUTE /run/hello by sh (498): in a file system without a device (tmpfs)
    ");
    assert_snapshot!(environment.run(["audit", "tail", "audit.log", "--no-follow", "--output", "json"]), @r#"
    {"schema":"osguard.audit.tail.v1","event":"1795425188.368:3","time":"2026-11-23 09:13:08.368Z","type":"access","verdict":"denied","operation":"EXECUTE","hook":"BPRM_CHECK","enforcing":true,"pid":498,"comm":"sh","path":"/run/hello","device":"tmpfs","inode":3,"rule":"DEFAULT op=EXECUTE action=DENY","cut_off":false,"parent_pid":null,"executable":null,"user":null,"cgroup":null,"container":null,"place":"in a file system without a device (tmpfs)","volume":null}
    {"schema":"osguard.audit.tail.v1","event":"1795425188.368:4","time":"2026-11-23 09:13:08.368Z","type":"access","verdict":"denied","operation":"EXECUTE","hook":"BPRM_CHECK","enforcing":true,"pid":498,"comm":"sh","path":"/run/hello","device":"tmpfs","inode":3,"rule":"DEFAULT op=EXECUTE action=DENY","cut_off":false,"parent_pid":null,"executable":null,"user":null,"cgroup":null,"container":null,"place":"in a file system without a device (tmpfs)","volume":null}
    "#);
    assert_snapshot!(environment.run(["audit", "explain", "audit.log", "--output", "json"]), @r#"
    {
      "schema": "osguard.audit.explain.v1",
      "source": "audit.log",
      "count": 2,
      "denials": [
        {
          "count": 2,
          "event": "1795425188.368:4",
          "time": "2026-11-23 09:13:08.368Z",
          "type": "access",
          "verdict": "denied",
          "operation": "EXECUTE",
          "hook": "BPRM_CHECK",
          "enforcing": true,
          "pid": 498,
          "comm": "sh",
          "path": "/run/hello",
          "device": "tmpfs",
          "inode": 3,
          "rule": "DEFAULT op=EXECUTE action=DENY",
          "cut_off": false,
          "parent_pid": null,
          "executable": null,
          "user": null,
          "cgroup": null,
          "container": null,
          "place": "in a file system without a device (tmpfs)",
          "volume": null,
          "what": "Execution of /run/hello by sh (process 498) was denied",
          "why": "DEFAULT op=EXECUTE action=DENY: no rule for EXECUTE is true of it, and then it is denied; it is on no dm-verity volume, so nothing about it is signed",
          "where_is_it": "the file lies in a file system without a device (tmpfs)",
          "policy_line": null,
          "unknown": [
            "nothing was looked up: the records may be of another machine (--here says that they are not)"
          ],
          "remedies": [
            {
              "remedy": "put /run/hello into a signed image",
              "suffices": null,
              "changes_policy": false,
              "steps": [
                "put the file into the image when it is built",
                "osguard sign IMAGE --key KEY",
                "mount it again (`osguard node mount`)"
              ]
            }
          ]
        }
      ]
    }
    "#);
    assert_snapshot!(environment.run(["audit", "suggest", "audit.log", "--output", "json"]), @r#"
    {
      "schema": "osguard.audit.suggest.v1",
      "source": "audit.log",
      "denials": 2,
      "unexplained": 0,
      "left_out": 0,
      "suggestions": [
        {
          "denials": 2,
          "remedy": "put /run/hello into a signed image",
          "suffices": null,
          "changes_policy": false,
          "steps": [
            "put the file into the image when it is built",
            "osguard sign IMAGE --key KEY",
            "mount it again (`osguard node mount`)"
          ],
          "alternatives": [],
          "example": "Execution of /run/hello by sh (process 498) was denied",
          "paths": [
            "/run/hello"
          ],
          "containers": []
        }
      ]
    }
    "#);
}

#[test]
fn nothing_denied_is_no_failure() {
    let environment = Environment::new();
    environment.write("audit.log", b"type=DAEMON_START msg=audit(1.000:1): op=start res=success\n");
    for command in ["explain", "suggest"] {
        let ran = environment.run(["audit", command, "audit.log"]);
        assert_eq!(ran.done(), "Nothing was denied, as far as audit.log tells\n");
    }
    let ran = environment.run_with_input(["audit", "explain", "-"], b"");
    assert_eq!(ran.done(), "Nothing was denied, as far as standard input tells\n");
}

#[test]
fn what_was_asked_for_and_is_not_there() {
    let environment = Environment::new();
    environment.write("audit.log", TMPFS.as_bytes());
    assert_snapshot!(environment.refused(["audit", "explain", "audit.log", "--pid", "7"]), @"
    --- standard error ---
    Error: audit.log has no such denial
    Hint: `osguard audit explain` without --event, --pid and --path explains those that are there.
    --- exit code 3 ---
    ");
    assert_snapshot!(environment.refused(["audit", "explain", "nothing.log"]), @"
    --- standard error ---
    Error: cannot read nothing.log: No such file or directory (os error 2)
    --- exit code 3 ---
    ");
    assert_snapshot!(environment.refused(["audit", "explain", "."]), @"
    --- standard error ---
    Error: cannot read .: is a directory
    --- exit code 1 ---
    ");
    assert_snapshot!(environment.refused(["audit", "suggest", "socket"]), @"
    --- standard error ---
    Error: the audit socket has no records of the past
    Hint: `osguard audit tail` follows it; records of the past are in auditd, journal or kernel-log.
    --- exit code 2 ---
    ");
    assert_snapshot!(environment.refused(["audit", "explain", "audit.log", "--policy", "audit.log"]), @"
    --- standard error ---
    Error: audit.log: the first line is `policy_name=NAME policy_version=1.0.0`, and not `type=IPE_ACCESS`
    Hint: `osguard policy lint` says what is wrong with it.
    --- exit code 2 ---
    ");
}

/// Each has one clear line, whatever it is.
#[test]
fn logs_that_are_none() {
    let environment = Environment::new();
    let explain = |input: &[u8]| {
        environment.write("log", input);
        environment.refused(["audit", "explain", "log"])
    };
    let translated = "Nov 29 05:03:42 Rechner Kern: Überwachung: Art=1420 Zeit(1795425188.368:4): Ausführung \
        verweigert\n類型=1420 審計(1.000:1): 拒絕\n";
    assert_snapshot!(explain(translated.as_bytes()), @"
    --- standard error ---
    Error: log holds no audit records: none of its 2 lines is one
    Hint: Lines of the kernel's log, of auditd, and of a journal as text or JSON are read; those of other logs, and translations of them, are not.
    --- exit code 1 ---
    ");
    let utf16: Vec<u8> = TMPFS.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_snapshot!(explain(&utf16), @"
    --- standard error ---
    Error: log holds no audit records: none of its 2 lines is one
    Hint: Lines of the kernel's log, of auditd, and of a journal as text or JSON are read; those of other logs, and translations of them, are not.
    --- exit code 1 ---
    ");
    let junk: Vec<u8> =
        (0..100_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let refused = explain(&junk);
    assert!(
        refused.stderr.starts_with("Error: log holds no audit records: none of its "),
        "{refused}"
    );
}

#[test]
fn a_line_of_100_mebibytes_is_left_out() {
    let environment = Environment::new();
    let mut file = std::fs::File::create(environment.path("log")).unwrap();
    let mebibyte = vec![b'x'; 1 << 20];
    file.write_all(b"type=1420 audit(1.000:1): ").unwrap();
    for _ in 0..100 {
        file.write_all(&mebibyte).unwrap();
    }
    file.write_all(b"\n").unwrap();
    file.write_all(TMPFS.as_bytes()).unwrap();
    drop(file);
    let ran = environment.run(["audit", "tail", "log", "--no-follow"]);
    assert_snapshot!(ran, @"
    2026-11-23 09:13:08.368Z  DENIED  EXECUTE /run/hello by sh (498): in a file system without a device (tmpfs)
    --- standard error ---
    Warning: a line of log was too long to be a record
    ");
}

/// Whoever writes into a log does not write to the terminal.
#[test]
fn escape_sequences_are_escaped() {
    let environment = Environment::new();
    let hostile = TMPFS
        .replace("op=EXECUTE action", "op=\u{1b}[31m action")
        .replace("\"sh\"", "\"\u{1b}]0;x\u{7}\"");
    environment.write("audit.log", hostile.as_bytes());
    for command in [&["explain"][..], &["suggest"], &["tail", "--no-follow"]] {
        let ran = environment.run(["audit"].iter().chain(command).chain(&["audit.log"]));
        let printed = ran.done();
        assert!(printed.contains("\\u{1b}"), "{printed}");
        assert!(!printed.contains(['\u{1b}', '\u{7}']), "{printed}");
    }
}

/// The records of real kernels: every one is read, and the words for it are these.
#[test]
fn records_of_real_kernels_are_told() {
    let environment = Environment::new();
    for (name, log) in [("6.12", "linux-6.12.log"), ("7.2", "linux-7.2.log")] {
        let log = testdata(log);
        let run = |command: &[&str]| -> Ran {
            environment.run(command.iter().map(Path::new).chain([log.as_path()]))
        };
        let tail = run(&["audit", "tail", "--no-follow"]).done();
        assert_snapshot!(format!("tail-{name}"), tail);
        assert_snapshot!(
            format!("explain-{name}"),
            run(&["audit", "explain", "--last", "100"]).done()
        );
        assert_snapshot!(format!("suggest-{name}"), run(&["audit", "suggest"]).done());
    }
}

fn testdata(name: &str) -> PathBuf {
    // Relative, so that the path is the same in every checkout.
    let absolute = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/audit").join(name);
    std::fs::canonicalize(absolute).unwrap()
}

#[test]
fn the_doctor_says_what_it_cannot_see() {
    let environment = Environment::new();
    let ran = environment.run(["node", "doctor", "--output", "json"]);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["schema"], "osguard.node.doctor.v1");
    let checks = report["checks"].as_array().unwrap();
    let is_unchecked = |check: &serde_json::Value| !check["unchecked"].is_null();
    let is_critical = |check: &serde_json::Value| {
        check["findings"].as_array().unwrap().iter().any(|one| one["severity"] == "critical")
    };
    let expected = match (checks.iter().any(is_critical), checks.iter().any(is_unchecked)) {
        (true, _) => 13,
        (false, true) => 1,
        (false, false) => 0,
    };
    assert_eq!(ran.code, expected, "{ran}");
    let hide = "mount -t tmpfs tmpfs /sys/kernel/security";
    let Some(mut doctor) = environment.unshared(hide, "true") else { return };
    let Some(ran) = environment.in_namespace(doctor.args(["node", "doctor"])) else { return };
    assert!(
        ran.stdout.contains("not looked at: securityfs is not mounted at /sys/kernel/security"),
        "{ran}"
    );
    assert_ne!(ran.code, 0);
}
