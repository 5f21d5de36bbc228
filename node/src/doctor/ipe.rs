//! Is IPE among the security modules that this kernel asks?

use super::{Check, Finding, Machine, Unchecked};
use crate::securityfs::{IpeTree, IpeUnavailable};

pub(super) const CHECK: Check =
    Check { name: "ipe", title: "IPE is among the kernel's security modules", run };

fn run(machine: &Machine) -> Result<Vec<Finding>, Unchecked> {
    let modules = match IpeTree::open_at(&machine.path("/sys/kernel/security")) {
        Ok(_) => return Ok(Vec::new()),
        Err(IpeUnavailable::NotEnabled { modules }) => modules,
        Err(error) => return Err(Unchecked::error(&error)),
    };
    // A kernel with IPE has its parameters even where it is not asked.
    let is_built_in = machine.path("/sys/module/ipe").exists();
    let (what, remedy) = match is_built_in {
        true => (
            format!("the kernel has IPE and does not ask it: its security modules are {modules}"),
            format!("boot with lsm={modules},ipe on the kernel's command line"),
        ),
        false => (
            format!("the kernel was built without IPE: its security modules are {modules}"),
            "use a kernel of 6.12 or newer with CONFIG_SECURITY_IPE".to_owned(),
        ),
    };
    Ok(vec![Finding::critical(what, remedy)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::machine::tests::write;

    #[test]
    fn a_kernel_that_has_ipe_and_does_not_ask_it_is_found() {
        let root = tempfile::tempdir().unwrap();
        let machine = Machine::at(root.path());
        assert!(run(&machine).is_err());
        write(root.path(), "/sys/kernel/security/lsm", "lockdown,capability");
        let without = run(&machine).unwrap();
        assert!(without[0].what.contains("was built without IPE"), "{without:?}");
        write(root.path(), "/sys/module/ipe/parameters/enforce", "Y");
        let unasked = run(&machine).unwrap();
        assert_eq!(
            unasked[0].remedy,
            "boot with lsm=lockdown,capability,ipe on the kernel's command line"
        );
        write(root.path(), "/sys/kernel/security/lsm", "lockdown,capability,ipe");
        write(root.path(), "/sys/kernel/security/ipe/enforce", "1");
        assert_eq!(run(&machine), Ok(Vec::new()));
    }
}
