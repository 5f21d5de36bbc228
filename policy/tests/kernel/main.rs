//! Our verdict on the text of a policy is the kernel's: thousands of them, right and wrong in every
//! way, are loaded into real kernels and parsed by us.

#![expect(clippy::unwrap_used, reason = "a test ends where its preparation fails")]

mod mutation;
mod table;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use libverity::errno::Errno;
use libverity::pkcs7::{Embedding, sign_policy};
use libverity::signer::FileSigner;
use mutation::Chance;
use osguard_policy::format::format;
use osguard_policy::kernel_version::KernelVersion;
use osguard_policy::syntax::parse;
use osguard_testkit::or_skip;
use osguard_testkit::test_pki::TestPki;
use osguard_testkit::vm::{Kernel, Vm};

/// How many policies are made by chance; together with those by hand there are more than 3,000.
const MADE_BY_CHANCE: usize = 3_200;

const SEED: u64 = 61_272;

#[test]
fn policies_by_hand_are_judged_as_the_kernel_does() {
    for kernel in KernelVersion::ALL {
        for (text, expected) in by_hand() {
            assert_eq!(ours(&text, kernel), expected, "{}", text.escape_ascii());
        }
    }
}

#[test]
fn policies_by_chance_are_right_and_wrong_in_equal_parts() {
    let answers: Vec<_> = by_chance().iter().map(|text| ours(text, KernelVersion::V6_12)).collect();
    let of = |answer| answers.iter().filter(|other| **other == answer).count();
    assert!(of(Ok(())) > MADE_BY_CHANCE / 5, "{}", of(Ok(())));
    for (errno, least) in
        [(Errno::EBADMSG, 500), (Errno::EINVAL, 50), (Errno::ERANGE, 20), (Errno::EACCES, 20)]
    {
        assert!(of(Err(errno)) >= least, "{errno}: {}", of(Err(errno)));
    }
}

#[test]
fn the_canonical_form_is_taken_and_stays() {
    let kernel = KernelVersion::V6_12;
    let mut forms = 0;
    for text in by_hand().into_iter().map(|(text, _)| text).chain(by_chance()) {
        let Ok(formatted) = format(&text, kernel) else {
            assert!(ours(&text, kernel).is_err() || text.contains(&0), "{}", text.escape_ascii());
            continue;
        };
        assert_eq!(format(&formatted, kernel).as_ref(), Ok(&formatted));
        assert_eq!(ours(&formatted, kernel), Ok(()), "{}", formatted.escape_ascii());
        forms += 1;
    }
    assert!(forms > MADE_BY_CHANCE / 5, "{forms}");
}

#[test]
fn vm_6_12_judges_policies_as_we_do() {
    compare(Kernel::V6_12, KernelVersion::V6_12);
}

#[test]
fn vm_7_2_judges_policies_as_we_do() {
    compare(Kernel::V7_2, KernelVersion::V7_2);
}

fn compare(kernel: Kernel, version: KernelVersion) {
    let Some(pki) = or_skip(TestPki::new()) else { return };
    let identity = pki.rsa().unwrap();
    let mut no_passphrase = || Err(io::Error::other("the key is not encrypted"));
    let signer =
        FileSigner::open(&identity.key, &identity.certificate, &mut no_passphrase).unwrap();
    let texts: Vec<_> = by_hand().into_iter().map(|(text, _)| text).chain(by_chance()).collect();
    assert!(texts.len() >= 3_000);
    let mut batch = Vec::new();
    for text in &texts {
        let signed = sign_policy(text, &signer, Embedding::Nothing).unwrap();
        batch.extend_from_slice(&u32::try_from(signed.len()).unwrap().to_le_bytes());
        batch.extend_from_slice(&signed);
    }
    let machine = Vm::new(kernel)
        .certificate(identity.certificate_pem().unwrap())
        .program(loader())
        .contents("/policies", batch)
        .time_limit(Duration::from_secs(280))
        .script("echo 3 > /proc/sys/kernel/printk\nstep load load_policies /policies\nexit 0\n");
    let Some(outcome) = machine.run_or_skip() else { return };
    println!("{} policies: {:?}", texts.len(), outcome.wall_time);

    let report = outcome.step("load").stdout_text();
    let answers: BTreeMap<usize, i32> = report
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(number, errno)| (number.parse().unwrap(), errno.parse().unwrap()))
        .collect();
    assert_eq!(answers.len(), texts.len(), "{}", outcome.console);
    let mut differences = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        let kernel = match answers[&number] {
            0 => Ok(()),
            errno => Err(Errno::from_number(errno)),
        };
        let ours = ours(text, version);
        if kernel != ours {
            differences.push(format!("{kernel:?}, we {ours:?}: {}", text.escape_ascii()));
        }
    }
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}

fn ours(text: &[u8], kernel: KernelVersion) -> Result<(), Errno> {
    parse(text, kernel).map(|_| ()).map_err(|errors| errors.errno())
}

fn by_hand() -> Vec<(Vec<u8>, Result<(), Errno>)> {
    let short = table::CASES.iter().map(|(text, answer)| (text.to_vec(), *answer));
    short.chain(table::long()).collect()
}

fn by_chance() -> Vec<Vec<u8>> {
    let mut chance = Chance::new(SEED);
    let mut texts = Vec::new();
    while texts.len() < MADE_BY_CHANCE {
        let changes = texts.len() % 4;
        let text = mutation::policy(&mut chance, changes);
        // What was signed is never empty.
        if !text.is_empty() {
            texts.push(text);
        }
    }
    texts
}

/// Finds the example `load_policies` beside this test: cargo builds it along.
fn loader() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().join("examples/load_policies")
}
