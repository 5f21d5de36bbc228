//! Commands that are killed half-way, and run again.

use std::process::{Child, Stdio};

use osguard_testkit::registry::{Fault, Gate, Registry};

use crate::environment::Environment;
use crate::fixtures;

/// Kills `arguments` at ten points of what they ask of the registry, each time on an image of its
/// own, and runs them again. `{image}` stands for the image.
fn killed_and_run_again(registry: &Registry, environment: &Environment, arguments: &[&str]) {
    // How much there is to ask for.
    let whole = environment.run(at(arguments, registry, "whole")).done();
    assert!(!whole.is_empty());
    let requests = registry.requests().len() as u64;
    for tenth in 0..10 {
        let name = format!("killed-{tenth}");
        let gate = Gate::new();
        registry.fault(Fault::new().after(requests * tenth / 10).times(1).hold_answer(&gate));
        let mut command = environment.osguard();
        command.args(at(arguments, registry, &name));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        kill_at(&gate, child);
        registry.clear_faults();

        let image = format!("{}/team/{name}:v1", registry.host());
        if registry.manifest(&format!("team/{name}"), "v1").is_some() {
            // What has its tag is whole.
            let copy = format!("oci:{}:{name}", environment.path("read-back").display());
            let _ = environment.run(["copy", &image, &copy]).done();
        }
        let _ = environment.run(at(arguments, registry, &name)).done();
        let verified = environment.run(["verify", "--trust", "alice.crt", &image]);
        assert_eq!(verified.code, 0, "{tenth}: {verified}");
    }
}

fn at(arguments: &[&str], registry: &Registry, name: &str) -> Vec<String> {
    let image = format!("{}/team/{name}:v1", registry.host());
    arguments.iter().map(|argument| argument.replace("{image}", &image)).collect()
}

fn kill_at(gate: &Gate, mut child: Child) {
    gate.wait_for(1);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_killed_push_is_completed_by_the_next() {
    for with_api in [true, false] {
        let builder = Registry::builder();
        let builder = if with_api { builder } else { builder.without_referrers_api() };
        let registry = builder.start().unwrap();
        let environment = Environment::with_keys();
        fixtures::image(&environment);
        let push = ["push", "oci:image:v1", "{image}", "--sign", "--key", "alice.key"];
        killed_and_run_again(&registry, &environment, &push);
    }
}

#[test]
fn a_killed_copy_is_completed_by_the_next() {
    for with_api in [true, false] {
        let builder = Registry::builder();
        let builder = if with_api { builder } else { builder.without_referrers_api() };
        let registry = builder.start().unwrap();
        let environment = Environment::with_keys();
        fixtures::image(&environment);
        let _ = environment.run(["sign", "oci:image:v1", "--key", "alice.key"]).done();
        killed_and_run_again(&registry, &environment, &["copy", "oci:image:v1", "{image}"]);
    }
}
