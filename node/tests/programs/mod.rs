//! Where cargo puts the programs that tests put into a guest.

use std::path::PathBuf;

/// Finds an example beside this test: cargo builds it along.
pub(crate) fn example(name: &str) -> PathBuf {
    beside("examples").join(name)
}

/// Finds a program in the directory of the profile.
pub(crate) fn beside(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    test.ancestors().nth(2).expect("a test lies in target/PROFILE/deps").join(name)
}
