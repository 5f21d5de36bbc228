//! A manifest is refused, or each of its images is on a line that there is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use osguard_admission::workload::{MAX_IMAGES, parse_manifests};

fuzz_target!(|text: &str| {
    let lines = text.len() as u64 + 1;
    match parse_manifests(text) {
        Err(error) => assert!(error.line().is_none_or(|line| line <= lines)),
        Ok(workloads) => {
            assert!(workloads.iter().map(|one| one.images.len()).sum::<usize>() <= MAX_IMAGES);
            for image in workloads.iter().flat_map(|one| &one.images) {
                assert!(!image.image.is_empty());
                assert!(image.line.is_some_and(|line| (1..=lines).contains(&line)));
            }
        }
    }
});
