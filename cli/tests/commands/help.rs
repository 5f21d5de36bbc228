//! The whole interface: help, version, completions and manual pages.

use insta::assert_snapshot;

use crate::environment::Environment;

/// The reference: whoever changes the interface sees the change here.
#[test]
fn every_command_has_its_help() {
    let environment = Environment::new();
    let mut reference = String::new();
    describe(&environment, &[], &mut reference);
    // The flags that many commands have are there once.
    let reference = once(&reference, "\nOutput:", "\n\nExit codes:");
    assert_snapshot!("reference", once(&reference, "\nRegistry:", "\n\n## "));
}

/// Returns `text` with what stands from `start` to `end` there once.
fn once(text: &str, start: &str, end: &str) -> String {
    let start = text.find(start).unwrap();
    let end = start + text[start..].find(end).unwrap();
    let (first, others) = text.split_at(end);
    [first, &others.replace(&text[start..end], "")].concat()
}

fn describe(environment: &Environment, command: &[String], reference: &mut String) {
    let mut osguard = environment.osguard();
    osguard.args(command).arg("--help").env_remove("OSGUARD_STATE").env_remove("OSGUARD_STORE");
    let help = environment.ran(&mut osguard).done();
    let help: Vec<_> = help.lines().map(str::trim_end).collect();
    let title = format!("osguard {}", command.join(" "));
    reference.push_str(&format!("## {}\n\n{}\n\n", title.trim_end(), help.join("\n")));
    let commands = help.iter().skip_while(|line| **line != "Commands:").skip(1);
    for line in commands.take_while(|line| !line.is_empty()) {
        let name = line.split_whitespace().next().unwrap();
        // Lines that go on with the description of the command above are indented further.
        if line.starts_with("   ") || name == "help" {
            continue;
        }
        describe(environment, &[command, &[name.to_owned()]].concat(), reference);
    }
}

#[test]
fn short_help_fits_on_a_screen() {
    let environment = Environment::new();
    let help = environment.run(["-h"]).done();
    assert!(help.lines().count() <= 45, "{help}");
    assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
}

#[test]
fn version() {
    let environment = Environment::new();
    assert_snapshot!(environment.run(["version"]), @"osguard 0.1.0");
    assert_snapshot!(environment.run(["--version"]), @"osguard 0.1.0");
    assert_snapshot!(environment.run(["version", "--output", "json"]), @r#"
    {
      "schema": "osguard.version.v1",
      "version": "0.1.0"
    }
    "#);
}

#[test]
fn completions_name_every_command() {
    let environment = Environment::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = environment.run(["completions", shell]).done();
        for word in ["sign", "dry-run", "unmount"] {
            assert!(script.contains(word), "{word} is missing for {shell}");
        }
    }
}

#[test]
fn nobody_reads_to_the_end() {
    let environment = Environment::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ran = environment.ran(environment.osguard().args(["completions", "bash"]).stdout(writer));
    assert_snapshot!(ran, @"");
}

#[test]
fn manual_pages_are_written_one_for_each_command() {
    let environment = Environment::new();
    environment.run(["man", "pages/new"]).done();
    let page = String::from_utf8(environment.read("pages/new/osguard-node-mount.1")).unwrap();
    assert!(page.contains(".SH NAME") && page.contains("allow\\-unsigned"), "{page}");
    assert!(environment.path("pages/new/osguard.1").exists());
}
