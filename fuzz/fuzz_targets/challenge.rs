//! A challenge is refused, or names a scheme that can be answered; words of a registry fit on one
//! line of a terminal, whatever they are.
#![no_main]

use libfuzzer_sys::fuzz_target;
use osguard_registry::distribution::Words;
use osguard_registry::distribution::challenge::Challenge;

fuzz_target!(|text: &str| {
    if let Ok(Challenge::Bearer(bearer)) = Challenge::choose([text]) {
        assert!(!bearer.realm.is_empty());
    }
    let words = Words::parse(text.as_bytes()).to_string();
    assert!(!words.chars().any(char::is_control), "{words:?}");
    assert!(words.chars().count() <= 400, "{words:?}");
});
