//! What people write into a trust configuration is refused, or read back as it is written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use libverity::certificate::DistinguishedName;
use osguard_policy::trust::{Repository, RepositoryPattern, Requirement};

fuzz_target!(|text: &str| {
    if let Ok(name) = text.parse::<DistinguishedName>() {
        assert!(name.contains(&name) && name.is_same(&name), "{name:?}");
    }
    if let Ok(pattern) = text.parse::<RepositoryPattern>() {
        assert_eq!(pattern.to_string().parse().as_ref(), Ok(&pattern));
        assert!(pattern.precision(&pattern).is_eq());
        assert_eq!(pattern.covers(None), pattern == RepositoryPattern::EVERYTHING);
    }
    if let Ok(repository) = text.parse::<Repository>() {
        assert_eq!(repository.to_string(), text);
        assert!(RepositoryPattern::EVERYTHING.covers(Some(&repository)));
        let itself: RepositoryPattern = text.parse().expect("a repository is a pattern of itself");
        assert!(itself.covers(Some(&repository)));
    }
    if let Ok(requirement) = text.parse::<Requirement>() {
        assert_eq!(requirement.to_string().parse(), Ok(requirement));
    }
});
