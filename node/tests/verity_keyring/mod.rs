//! The keyring `.dm-verity` of Linux 7.0 and later: keys that may sign layers and no policies.
//!
//! Source: `drivers/md/dm-verity-verify-sig.c`.

use libverity::certificate::Certificate;
use osguard_testkit::command::find;
use osguard_testkit::pki::Signer;
use osguard_testkit::vm::{Kernel, Outcome};
use osguard_testkit::{Result, or_skip};

use crate::guest::{Guest, Layer};
use crate::{assert_nothing_left, refused, succeeded};

/// The module makes the keyring when it is loaded, and takes it along.
const SCRIPT: &str = r#"
module=$(grep -E '/dm.verity' /modules/order)
add() { keyctl padd asymmetric "" %keyring:.dm-verity < "$1"; }
attempt() { step "$1" node mount /mnt/app /layers/team.json; }

attempt without_key
step add_sealed add /team.der
rmmod dm_verity
insmod "$module" keyring_unsealed=1
step add add /team.der
attempt unsealed
step refused_left left
step seal keyctl restrict_keyring %keyring:.dm-verity
step add_late add /late.der
attempt sealed
step runs /mnt/app/bin/busybox echo signed by a key of its own
step late node mount /mnt/late /layers/late.json
step policy node deploy /policies/team --activate
step unmount node unmount /mnt/app
rmmod dm_verity
insmod "$module"
attempt reloaded
step left left
"#;

#[test]
fn vm_7_2_takes_the_keys_of_its_own_keyring_once_it_is_sealed() {
    let Some(outcome) = or_skip(run()) else { return };
    println!("took {:?}", outcome.wall_time);
    refused(&outcome, "without_key", "(ENOKEY)");
    refused(&outcome, "add_sealed", "");
    succeeded(&outcome, "add");
    // The key is there, but anybody could have put it there.
    refused(&outcome, "unsealed", "(ENOKEY)");
    assert_nothing_left(&outcome, "refused_left");
    succeeded(&outcome, "seal");
    refused(&outcome, "add_late", "Operation not permitted");
    succeeded(&outcome, "sealed");
    assert_eq!(outcome.step("runs").stdout_text(), "signed by a key of its own");
    refused(&outcome, "late", "(ENOKEY)");
    // It may sign layers, and no policies.
    refused(&outcome, "policy", "(ENOKEY)");
    succeeded(&outcome, "unmount");
    refused(&outcome, "reloaded", "(ENOKEY)");
    assert_nothing_left(&outcome, "left");
}

fn run() -> Result<Outcome> {
    // The firmware's `db` has another certificate, which signs nothing here.
    let platform = Signer::generate("platform")?;
    let (team, late) = (Signer::generate("team")?, Signer::generate("late")?);
    let mut guest = Guest::new(Kernel::V7_2, &platform)?;
    guest.layer("team", &Layer::bottom()?, Some(&team))?;
    guest.layer("late", &Layer::top()?, Some(&late))?;
    for (path, signer) in [("/team.der", &team), ("/late.der", &late)] {
        let certificate = Certificate::from_file_contents(&signer.certificate()?);
        guest.contents(path, certificate.expect("a certificate").as_der());
    }
    let policy =
        team.sign_policy("policy_name=lab policy_version=1.0.0\nDEFAULT action=ALLOW\n")?;
    guest.contents("/policies/team", &policy);
    let keyctl = find("keyctl")?;
    guest.run_with(|machine| machine.program(keyctl), SCRIPT)
}
