//! Our verdict on a signature is the kernel's: several hundred messages, good ones of every kind and
//! mutated ones, are given to real kernels and to us.

#![expect(clippy::unwrap_used, reason = "a test ends where its preparation fails")]

mod mutation;
mod revoked;
mod variants;

use std::collections::BTreeMap;
use std::time::Duration;

use libverity::certificate::read_signature_lists;
use libverity::errno::Errno;
use libverity::pkcs7::{Blacklist, Keyrings, Refusal, verify_policy, verify_root_hash};
use osguard_testkit::command::find;
use osguard_testkit::or_skip;
use osguard_testkit::test_pki::TestPki;
use osguard_testkit::vm::{Kernel, Outcome, Vm};
use revoked::Revoked;
use variants::{POLICY_NAME, Trusted, Variant, root_hash};

/// Gives every message to the kernel: those in /policies to IPE, those in /signatures to dm-verity.
const SCRIPT: &str = r#"
policies() {
    for message in /policies/*; do
        answer=$(cat "$message" 2>&1 > /sys/kernel/security/ipe/new_policy) && {
            answer=accepted
            echo 1 > /sys/kernel/security/ipe/policies/NAME/delete
        }
        echo "${message##*/} $answer"
    done
}
signatures() {
    # The signature is checked when the table is loaded; the device need not be there for that.
    dmsetup create test --notable --noudevsync --noudevrules
    give /signatures/*
}
give() {
    for message; do
        keyctl padd user signature @u < "$message" > /dev/null
        answer=$(dmsetup load test --readonly --table \
            "0 8 verity 1 /dev/vda /dev/vda 4096 4096 1 1 sha256 ROOT_HASH - 2 root_hash_sig_key_desc signature" \
            2>&1) && answer=accepted
        echo "${message##*/} "$answer
    done
}
echo 3 > /proc/sys/kernel/printk
step policies policies
step signatures signatures
date -s 2001-01-01 > /dev/null
step before_validity give /signatures/0000
date -s 2099-01-01 > /dev/null
step after_validity give /signatures/0000
exit 0
"#;

#[test]
fn vm_6_12_judges_signatures_as_we_do() {
    compare(Kernel::V6_12);
}

#[test]
fn vm_7_2_judges_signatures_as_we_do() {
    compare(Kernel::V7_2);
}

fn compare(kernel: Kernel) {
    let Some(pki) = or_skip(TestPki::new()) else { return };
    let (Some(dmsetup), Some(keyctl)) = (or_skip(find("dmsetup")), or_skip(find("keyctl"))) else {
        return;
    };
    let trusted = Trusted::new(&pki).unwrap();
    let mut policies = variants::policies(&pki, &trusted).unwrap();
    let mut signatures = variants::signatures(&pki, &trusted).unwrap();
    let revoked = Revoked::new(&pki).unwrap();
    policies.extend(revoked.variants(&pki, &trusted, variants::POLICY, &["-nodetach"]).unwrap());
    let text = root_hash().signed_text();
    signatures.extend(revoked.variants(&pki, &trusted, text.as_bytes(), &[]).unwrap());

    let disk = tempfile::NamedTempFile::new().unwrap();
    disk.as_file().set_len(1 << 20).unwrap();
    let script =
        SCRIPT.replace("NAME", POLICY_NAME).replace("ROOT_HASH", &root_hash().signed_text());
    let mut machine = Vm::new(kernel)
        .disk(disk.path())
        .program(dmsetup)
        .program(keyctl)
        .time_limit(Duration::from_secs(280))
        .script(script);
    machine = machine.revoked(revoked.signature_lists());
    for certificate in trusted.pem.iter().chain(&revoked.pem) {
        machine = machine.certificate(certificate.clone());
    }
    for (directory, variants) in [("policies", &policies), ("signatures", &signatures)] {
        for (number, variant) in variants.iter().enumerate() {
            machine =
                machine.contents(&format!("/{directory}/{number:04}"), variant.message.clone());
        }
    }
    let Some(outcome) = machine.run_or_skip() else { return };
    println!(
        "{} policies, {} signatures: {:?}",
        policies.len(),
        signatures.len(),
        outcome.wall_time
    );

    let mut differences = Vec::new();
    let anchors = [&trusted.certificates[..], &revoked.certificates].concat();
    let dbx = read_signature_lists(&revoked.signature_lists()).unwrap();
    let blacklist = Blacklist::new(dbx, false);
    let keyrings = Keyrings::new(&anchors).with_blacklist(&blacklist);
    judge(&outcome, "policies", &policies, &mut differences, |message| {
        verify_policy(message, keyrings).map(|_| ())
    });
    judge(&outcome, "signatures", &signatures, &mut differences, |message| {
        verify_root_hash(&root_hash(), message, keyrings).map(|_| ())
    });
    for step in ["before_validity", "after_validity"] {
        // Which is why we tell, and do not refuse, what is out of date.
        assert_eq!(outcome.step(step).stdout_text(), "0000 accepted", "{}", outcome.console);
    }
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}

fn judge(
    outcome: &Outcome,
    step: &str,
    variants: &[Variant],
    differences: &mut Vec<String>,
    verify: impl Fn(&[u8]) -> Result<(), Refusal>,
) {
    let report = outcome.step(step).stdout_text();
    let answers: BTreeMap<usize, &str> = report
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(number, answer)| (number.parse().unwrap(), answer))
        .collect();
    assert_eq!(answers.len(), variants.len(), "{}", outcome.console);
    for (number, variant) in variants.iter().enumerate() {
        let kernel = answer(answers[&number]);
        let ours = verify(&variant.message);
        let agree = match (&kernel, &ours) {
            (Ok(()), Ok(())) => true,
            // Where we do not know, we refuse.
            (_, Err(refusal @ Refusal::UnsupportedHere { .. })) => {
                println!("{}: kernel {kernel:?}, we: {refusal}", variant.name);
                true
            }
            (Err(errno), Err(refusal)) => refusal.errno() == Some(*errno),
            _ => false,
        };
        if !agree {
            let ours = ours.map_err(|refusal| format!("{:?}: {refusal}", refusal.errno()));
            differences.push(format!("{step}: {}: kernel {kernel:?}, we {ours:?}", variant.name));
        }
    }
}

/// Reads what a program of the guest printed about the kernel's error.
fn answer(text: &str) -> Result<(), Errno> {
    if text == "accepted" {
        return Ok(());
    }
    let known = [
        ("Bad message", Errno::EBADMSG),
        ("Invalid argument", Errno::EINVAL),
        ("Key was rejected by service", Errno::EKEYREJECTED),
        ("Message too long", Errno::EMSGSIZE),
        ("No data available", Errno::ENODATA),
        ("Package not installed", Errno::ENOPKG),
        ("Required key not available", Errno::ENOKEY),
    ];
    let errno = known.into_iter().find(|(message, _)| text.contains(message));
    Err(errno.unwrap_or_else(|| panic!("what is {text:?}?")).1)
}
