//! Prints everything that a directory holds, for a comparison outside of a virtual machine.

use std::path::Path;
use std::process::ExitCode;

use osguard_testkit::image::Tree;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1) else {
        eprintln!("usage: osguard-tree DIRECTORY");
        return ExitCode::from(2);
    };
    match Tree::of(Path::new(&directory)) {
        Ok(tree) => {
            print!("{}", tree.print());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
