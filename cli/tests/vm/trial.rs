//! Deployment that locks nobody out: every state of it, policies on trial that come back by themselves, and the tool killed at
//! every step.

use std::collections::BTreeMap;

use libverity::pkcs7::{Embedding, sign_policy};
use libverity::signer::FileSigner;
use osguard_testkit::command::find;
use osguard_testkit::pki::Signer;
use osguard_testkit::vm::{Kernel, Outcome};
use osguard_testkit::{Result, or_skip};

use crate::host::Host;
use crate::{failed, succeeded};

#[test]
fn vm_6_12_locks_nobody_out() {
    locks_nobody_out(Kernel::V6_12);
}

#[test]
fn vm_7_2_locks_nobody_out() {
    locks_nobody_out(Kernel::V7_2);
}

/// Where a policy denies everything, only what the shell does by itself goes on: `pause`, `step` and `test`.
///
/// `/policies/good-N` allows the initramfs and with it osguard, `/policies/bad-N` does not; N is the revision. A directory stands
/// for a systemd that has started the machine.
const SCRIPT: &str = r#"
mkfifo /run/fifo
pause() { read -r -t "$1" _ <> /run/fifo; }
good=/policies/good bad=/policies/bad
force=--enforce-even-if-this-machine-stops-working
cp /usr/bin/busybox /tmp/copy

step simulate-good osguard policy simulate "$good-1" --host
step simulate-bad osguard policy simulate "$bad-1" --host
step text osguard policy deploy /policies/text
step foreign osguard policy deploy /policies/foreign
step big osguard policy deploy /policies/big
step empty-blob osguard policy deploy /policies/no-policy
step vital osguard policy deploy "$bad-1"
step user-namespace unshare -U -r osguard policy deploy "$good-1"
step nothing osguard policy status

step try-first osguard policy deploy "$bad-1" --try 4s $force
step denied-first /usr/bin/true
pause 6
step back-first osguard policy status

mkdir -p /run/systemd/system
step new osguard policy deploy "$good-2"
echo 1 > /sys/kernel/security/ipe/enforce
step same osguard policy deploy "$good-2"
step older osguard policy deploy /policies/good-1
step other-name osguard policy deploy /policies/other-9
step no-way-back osguard policy deploy "$bad-4" --try 5s $force
step low-fallback osguard policy deploy "$bad-4" --try 5s $force --fallback "$good-3"
step unchanged osguard policy status

step try osguard policy deploy "$bad-4" --try 4s $force --fallback "$good-5"
step denied osguard policy activate --confirm
pause 6
step back osguard policy status
step too-late osguard policy activate --confirm
step boot-old cmp /etc/ipe/spine.p7b "$good-2"

step confirm-try osguard policy deploy "$good-6" --try 600s --fallback "$good-7"
step busy osguard policy deploy "$good-8" --try 5s --fallback "$good-9"
step pending osguard policy status
step confirm osguard policy activate --confirm
step confirmed osguard policy status
step boot-new cmp /etc/ipe/spine.p7b "$good-6"

osguard policy deploy "$good-10" --try 600s --fallback "$good-11"
step abort osguard policy activate --abort
step aborted osguard policy status

osguard policy deploy /policies/twin-11 --no-activate --other-name
step activate osguard policy activate twin --try 3s
step activated osguard policy status
pause 5
step came-back osguard policy status
step absent osguard policy activate nothing
step no-trial osguard policy activate --abort

step soak-good osguard policy deploy "$good-12" --soak 2s --fallback "$good-13"
osguard policy deploy /policies/open-14
( until [ -e /run/stop ]; do /tmp/copy true; pause 1; done ) &
step soak osguard policy deploy "$good-15" --soak 4s --fallback /policies/open-16
: > /run/stop
step soaked osguard policy status

step rollback-prepare osguard policy rollback --prepare /run/back.policy
step rollback osguard policy rollback "$good-13" --key /keys/trusted.key --to /run/back
step rollback-deploy osguard policy deploy /run/back --try 600s --fallback "$good-18"
step rollback-confirm osguard policy activate --confirm
: > /etc/ipe/zz.p7b; mkdir -p /usr/lib/ipe; cp /policies/other-9 /usr/lib/ipe/a.p7b
step hazard osguard policy deploy "$good-19"
step hazard-status osguard policy status
rm -r /usr/lib/ipe /etc/ipe/zz.p7b

# Kills the tool where it enters its first, second, third … call of a kind; whatever became of the policy, the state that
# comes back is one in which osguard runs and the kernel enforces.
active() { cat /sys/kernel/security/ipe/policies/spine/version; }
kill_trials() {
    n=20
    for call in write connect rename fsync; do
        count=1
        while strace -o /run/trace -e trace=$call -e inject=$call:signal=KILL:when=$count \
            osguard policy deploy "$good-$n" --try 3s --fallback "$good-$((n + 1))" > /run/out 2>&1; [ "$?" = 137 ]
        do
            kills=$((kills + 1))
            before=$(active)
            while osguard policy status | grep -q '^On trial'; do pause 1; done
            after=$(active)
            case $before:$after in
                1.0.$n:1.0.$((n + 1))) returned=$((returned + 1)) ;;
                "$after:$before") ;;
                *) echo "$call $count: $before, then $after" ;;
            esac
            [ "$(cat /sys/kernel/security/ipe/enforce)" = 1 ] || echo "$call $count: not enforced"
            n=$((n + 2)) count=$((count + 1))
            [ "$n" -lt 90 ] || return 1
        done
        osguard policy activate --confirm > /dev/null || cat /run/out
        n=$((n + 2))
    done
    echo "$kills $returned" > /run/kills
}
kills=0 returned=0
step kill-trials kill_trials
step kill-counts cat /run/kills

kill_deployments() {
    for call in write fsync rename; do
        count=1
        n=$((n + 1))
        until strace -o /run/trace -e trace=$call -e inject=$call:signal=KILL:when=$count \
            osguard policy deploy "$good-$n" > /run/out 2>&1
        do
            [ -s /etc/ipe/spine.p7b ] || echo "$call $count: no boot file"
            osguard policy status | grep FREEZE
            count=$((count + 1))
            [ "$count" -lt 30 ] || return 1
        done
        cmp /etc/ipe/spine.p7b "$good-$n"
    done
}
n=90
step kill-deployments kill_deployments
step last osguard policy status
step leftovers sh -c 'ls -A /etc/ipe; ls /var/lib/osguard/policies | wc -l'
exit 0
"#;

fn locks_nobody_out(kernel: Kernel) {
    let Some(outcome) = or_skip(run(kernel)) else { return };
    println!("{kernel:?} took {:?}", outcome.wall_time);
    for (name, step) in &outcome.steps {
        println!("{name} {}: {}\n{}", step.exit_code, step.stdout_text(), step.stderr_text());
    }
    assert_eq!(outcome.exit_code, 0, "{}", outcome.console);
    nothing_is_changed_by_what_is_refused(&outcome);
    former_states_come_back(&outcome);
    trials_are_confirmed_and_aborted(&outcome);
    soaks_find_denials(&outcome);
    rules_roll_forward(&outcome);
    killed_tools_leave_a_way_back(&outcome);
}

fn nothing_is_changed_by_what_is_refused(outcome: &Outcome) {
    succeeded(outcome, "simulate-good");
    let simulated = outcome.step("simulate-bad");
    assert_eq!(simulated.exit_code, 13, "{}", simulated.stderr_text());
    let text = simulated.stdout_text();
    assert!(text.contains("Denied, VITAL: EXECUTE /usr/bin/busybox"), "{text}");
    assert!(text.contains("/usr/bin/osguard"), "{text}");
    failed(outcome, "text", 2, "it is not a signed policy");
    failed(outcome, "foreign", 1, "ENOKEY");
    failed(outcome, "big", 2, "65535");
    failed(outcome, "empty-blob", 2, "what is signed is no policy");
    failed(outcome, "vital", 13, "could not be run or mended any more: it would deny");
    assert_ne!(outcome.step("user-namespace").exit_code, 0);
    let status = outcome.step("nothing").stdout_text();
    assert_eq!(status, "No policy is loaded: the kernel runs everything");
    succeeded(outcome, "new");
    says(outcome, "new", "systemd loads it at boot: /etc/ipe/spine.p7b");
    says(outcome, "same", "Policy spine 1.0.2: already loaded");
    failed(outcome, "older", 1, "is loaded in version 1.0.2, and version 1.0.1 is not newer");
    failed(outcome, "other-name", 13, "spine 1.0.2 is in force, and this policy is named other");
    failed(outcome, "no-way-back", 13, "there is no way back from spine 1.0.4 to spine 1.0.2");
    failed(outcome, "low-fallback", 2, "the fallback spine 1.0.3 cannot follow upon spine 1.0.4");
    says(
        outcome,
        "unchanged",
        "spine 1.0.2  in force\nAt boot: spine 1.0.2 from /etc/ipe/spine.p7b",
    );
}

fn former_states_come_back(outcome: &Outcome) {
    succeeded(outcome, "try-first");
    assert_eq!(outcome.step("denied-first").exit_code, 126);
    says(outcome, "back-first", "spine 1.0.1  in force\nEnforcement is switched OFF");
    succeeded(outcome, "try");
    // The tool itself is denied, so that nobody could confirm.
    assert_eq!(outcome.step("denied").exit_code, 126);
    let back = outcome.step("back").stdout_text();
    assert_eq!(back, "spine 1.0.5  in force\nAt boot: spine 1.0.2 from /etc/ipe/spine.p7b");
    failed(outcome, "too-late", 3, "no policy is on trial");
    succeeded(outcome, "boot-old");
    let log = "osguard: the trial of policy spine 1.0.4 is over, and the former state is back";
    assert!(outcome.kernel_log.contains(log), "{}", outcome.kernel_log);
}

fn trials_are_confirmed_and_aborted(outcome: &Outcome) {
    says(outcome, "confirm-try", "On trial: spine 1.0.6, for");
    failed(outcome, "busy", 1, "the policy spine 1.0.6 is on trial");
    says(outcome, "pending", "spine 1.0.6  in force\nOn trial: spine 1.0.6, for");
    says(outcome, "confirm", "Policy spine 1.0.6 stays in force\nsystemd loads it at boot");
    let confirmed = outcome.step("confirmed").stdout_text();
    assert_eq!(confirmed, "spine 1.0.6  in force\nAt boot: spine 1.0.6 from /etc/ipe/spine.p7b");
    succeeded(outcome, "boot-new");
    says(outcome, "abort", "The trial is over, and the former state is back");
    says(outcome, "aborted", "spine 1.0.11  in force");
    says(outcome, "activate", "Policy twin 1.0.11 is in force, in place of spine 1.0.11");
    says(outcome, "activated", "twin 1.0.11  in force");
    says(outcome, "came-back", "spine 1.0.11  in force\ntwin 1.0.11");
    failed(outcome, "absent", 3, "no policy \"nothing\" is loaded");
    failed(outcome, "no-trial", 3, "no policy is on trial");
}

fn soaks_find_denials(outcome: &Outcome) {
    says(outcome, "soak-good", "Policy spine 1.0.12: already loaded\nIt is in force");
    failed(outcome, "soak", 13, "denials were recorded, of which the first is: ipe_op=EXECUTE");
    failed(outcome, "soak", 13, "path=\"/tmp/copy\"");
    let soaked = outcome.step("soaked").stdout_text();
    assert!(soaked.contains("spine 1.0.16  in force"), "{soaked}");
    assert!(!soaked.contains("OFF"), "{soaked}");
}

fn rules_roll_forward(outcome: &Outcome) {
    says(outcome, "rollback-prepare", "Policy spine 1.0.17, with the rules of 1.0.");
    says(outcome, "rollback", "Policy spine 1.0.17, with the rules of 1.0.13: /run/back");
    succeeded(outcome, "rollback-deploy");
    says(outcome, "rollback-confirm", "Policy spine 1.0.17 stays in force");
    failed(outcome, "hazard", 13, "at its next start this machine would freeze");
    says(outcome, "hazard-status", "At its next start this machine would FREEZE");
}

fn killed_tools_leave_a_way_back(outcome: &Outcome) {
    for step in ["kill-trials", "kill-deployments"] {
        succeeded(outcome, step);
        assert_eq!(outcome.step(step).stdout_text(), "", "{step}");
    }
    let counts = outcome.step("kill-counts").stdout_text();
    println!("killed, and came back: {counts}");
    let (kills, returned) = counts.split_once(' ').expect("two numbers");
    let [kills, returned] = [kills, returned].map(|count| count.parse::<u32>().expect("a number"));
    assert!(kills >= 6 && returned >= 1, "{counts} are too few to be all");
    says(outcome, "last", "spine 1.0.93  in force\n");
    // Eight former policies are kept at most, and one file is there for systemd.
    assert_eq!(outcome.step("leftovers").stdout_text(), "spine.p7b\n8");
}

#[track_caller]
fn says(outcome: &Outcome, step: &str, text: &str) {
    succeeded(outcome, step);
    let output = outcome.step(step).stdout_text();
    assert!(output.contains(text), "{step}: {output}");
}

fn run(kernel: Kernel) -> Result<Outcome> {
    let host = Host::new()?;
    let key = |ending: &str| host.path(&format!("trusted.{ending}"));
    let no_passphrase = &mut || unreachable!("the key is not encrypted");
    let signer = FileSigner::open(&key("key"), &key("crt"), no_passphrase).expect("a key");
    let sign = |text: &str| {
        sign_policy(text.as_bytes(), &signer, Embedding::Certificate).expect("a signature")
    };
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for revision in 1..100 {
        files.insert(format!("good-{revision}"), sign(&policy("spine", revision, GOOD)));
    }
    for revision in [1, 4] {
        files.insert(format!("bad-{revision}"), sign(&policy("spine", revision, BAD)));
    }
    for revision in [14, 16] {
        files.insert(format!("open-{revision}"), sign(&policy("spine", revision, "")));
    }
    files.insert("other-9".to_owned(), sign(&policy("other", 9, GOOD)));
    files.insert("twin-11".to_owned(), sign(&policy("twin", 11, GOOD)));
    files.insert("text".to_owned(), policy("spine", 1, GOOD).into_bytes());
    files.insert("no-policy".to_owned(), sign("This is no policy."));
    let foreign = Signer::generate("nobody knows")?;
    files.insert("foreign".to_owned(), foreign.sign_policy(&policy("spine", 1, GOOD))?);
    let long = policy("spine", 1, GOOD) + &"# a comment\n".repeat(6000);
    files.insert("big".to_owned(), foreign.sign_policy(&long)?);
    let mut machine = host.machine_with(kernel, &["trusted"])?.program(find("strace")?);
    for (name, bytes) in files {
        machine = machine.contents(&format!("/policies/{name}"), bytes);
    }
    let machine =
        machine.file("/keys/trusted.key", key("key")).file("/keys/trusted.crt", key("crt"));
    machine.time_limit(std::time::Duration::from_secs(540)).script(SCRIPT).run()
}

fn policy(name: &str, revision: u32, rules: &str) -> String {
    format!("policy_name={name} policy_version=1.0.{revision}\nDEFAULT action=ALLOW\n{rules}")
}

const GOOD: &str = "DEFAULT op=EXECUTE action=DENY\nop=EXECUTE boot_verified=TRUE action=ALLOW\n\
    op=EXECUTE dmverity_signature=TRUE action=ALLOW\n";
const BAD: &str =
    "DEFAULT op=EXECUTE action=DENY\nop=EXECUTE dmverity_signature=TRUE action=ALLOW\n";
