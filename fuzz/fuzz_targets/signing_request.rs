//! A request that comes back signed is refused, or stays the same when it is written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use osguard_registry::signing_request::SigningRequest;

fuzz_target!(|bytes: &[u8]| {
    let Ok(request) = SigningRequest::parse(bytes) else { return };
    let _ = request.certificates();
    for message in &request.messages {
        let _ = message.signature();
    }
    let json = serde_json::to_vec(&request).expect("a request is JSON");
    assert_eq!(SigningRequest::parse(&json).expect("what was written"), request);
});
