//! A request is refused, or it can be answered and says where each of its images is named.
#![no_main]

use libfuzzer_sys::fuzz_target;
use osguard_admission::image_name;
use osguard_admission::review::{Response, Review, ReviewAnswer};
use osguard_admission::workload::MAX_IMAGES;

fuzz_target!(|bytes: &[u8]| {
    let Ok(Review { request }) = Review::parse(bytes) else { return };
    let mut response = Response::allow(&request.uid);
    for object in [&request.object, &request.old_object].into_iter().flatten() {
        match object.workloads() {
            Err(error) => response = Response::deny(&request.uid, &error.to_string()),
            Ok(workloads) => {
                let images: Vec<_> = workloads.iter().flat_map(|one| &one.images).collect();
                assert!(images.len() <= MAX_IMAGES);
                for image in images {
                    assert!(!image.image.is_empty() && image.line.is_none());
                    assert!(image.field.pointer().starts_with('/'));
                    if let Ok(parsed) = image_name::parse(&image.image) {
                        // What is understood is understood the same way a second time.
                        assert_eq!(image_name::parse(&parsed.to_string()).as_ref(), Ok(&parsed));
                    }
                    response = response.warn(&image.image);
                }
            }
        }
    }
    serde_json::to_vec(&ReviewAnswer::new(response)).expect("an answer can be written");
});
