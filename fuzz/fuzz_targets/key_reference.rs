//! A name of a key is refused, or names the same key when it is written and read again; what a
//! plugin says of itself stays on one line, whatever it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use osguard_program::one_line;
use osguard_signer::key_reference::KeyReference;

fuzz_target!(|bytes: &[u8]| {
    let words = one_line(bytes);
    assert!(!words.chars().any(char::is_control), "{words:?}");
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(reference) = text.parse::<KeyReference>() else { return };
    let written = reference.to_string();
    assert_eq!(written.parse::<KeyReference>().expect("what was written"), reference);
});
