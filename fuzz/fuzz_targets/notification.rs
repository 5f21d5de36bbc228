//! A notification is refused, or no event of it names what is no repository.
#![no_main]

use libfuzzer_sys::fuzz_target;
use osguard_hook::notification::{self, MAX_EVENTS, Meaning};
use osguard_hook::repository::Repository;

fuzz_target!(|bytes: &[u8]| {
    let Ok(events) = notification::parse(bytes) else { return };
    assert!(events.len() <= MAX_EVENTS);
    for event in events {
        if let Meaning::Pushed(target) | Meaning::Deleted(target) | Meaning::Referrers(target) =
            event.meaning
        {
            let text = target.repository.as_str();
            assert_eq!(text.parse::<Repository>().as_ref(), Ok(&target.repository));
            assert!(text.split('/').all(|name| !matches!(name, "" | "." | "..")));
        }
    }
});
