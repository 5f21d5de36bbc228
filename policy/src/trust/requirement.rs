//! How many signatures a layer needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// Says how many signatures a layer needs, each by a key of its own.
///
/// | text | means |
/// |---|---|
/// | `any` | one, the default |
/// | `N keys` | N of them, of whatever store |
/// | `N stores` | one for each of N stores |
/// | `all` | one for each store |
///
/// Two certificates of one key are one key. A key that leads to two stores counts for one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub enum Requirement {
    /// One for each store.
    All,
    /// One.
    #[default]
    Any,
    /// This many, of whatever store.
    Keys(usize),
    /// One for each of this many stores.
    Stores(usize),
}

impl Requirement {
    /// Returns what is lacking, if something is: `signers` are the signatures that count, each as its
    /// key and the stores that it leads to, of which there are `stores` in all.
    pub(super) fn unmet(self, signers: &[(String, Vec<usize>)], stores: usize) -> Option<Unmet> {
        let mut keys: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
        for (key, of_stores) in signers {
            keys.entry(key).or_default().extend(of_stores);
        }
        let keys: Vec<_> = keys.into_values().collect();
        let (needed, found) = match self {
            Self::Any => (1, keys.len()),
            Self::Keys(needed) => (needed, keys.len()),
            Self::Stores(needed) => (needed, matched_stores(&keys, stores)),
            Self::All => (stores, matched_stores(&keys, stores)),
        };
        (found < needed).then_some(Unmet { requirement: self, needed, found })
    }
}

/// Counts the stores that can have a key each, which no other has: the largest matching in a graph
/// of keys and stores, by augmenting paths.
fn matched_stores(keys: &[BTreeSet<usize>], stores: usize) -> usize {
    fn place(
        key: usize,
        keys: &[BTreeSet<usize>],
        seen: &mut [bool],
        owners: &mut [Option<usize>],
    ) -> bool {
        for &store in &keys[key] {
            if std::mem::replace(&mut seen[store], true) {
                continue;
            }
            if owners[store].is_none_or(|owner| place(owner, keys, seen, owners)) {
                owners[store] = Some(key);
                return true;
            }
        }
        false
    }
    let mut owners = vec![None; stores];
    (0..keys.len()).filter(|&key| place(key, keys, &mut vec![false; stores], &mut owners)).count()
}

impl fmt::Display for Requirement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => formatter.write_str("all"),
            Self::Any => formatter.write_str("any"),
            Self::Keys(count) => write!(formatter, "{count} keys"),
            Self::Stores(count) => write!(formatter, "{count} stores"),
        }
    }
}

impl FromStr for Requirement {
    type Err = RequirementError;

    fn from_str(text: &str) -> Result<Self, RequirementError> {
        let error = || RequirementError { text: text.chars().take(100).collect() };
        let count = |text: &str| text.parse().ok().filter(|&count| count > 0).ok_or_else(error);
        match text.split_once(' ') {
            None if text == "all" => Ok(Self::All),
            None if text == "any" => Ok(Self::Any),
            Some((number, "key" | "keys")) => count(number).map(Self::Keys),
            Some((number, "store" | "stores")) => count(number).map(Self::Stores),
            _ => Err(error()),
        }
    }
}

impl TryFrom<String> for Requirement {
    type Error = RequirementError;

    fn try_from(text: String) -> Result<Self, RequirementError> {
        text.parse()
    }
}

/// Says that a text is no requirement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} says not how many signatures are needed: write any, all, 2 keys or 2 stores")]
pub struct RequirementError {
    /// The text, or its start.
    pub text: String,
}

/// Says that a layer has too few good signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found} of {needed} required signatures by different keys are good ({requirement})")]
pub struct Unmet {
    /// What is required.
    pub requirement: Requirement,
    /// How many signatures that takes.
    pub needed: usize,
    /// How many there are.
    pub found: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(requirement: &str, signers: &[(&str, &[usize])], stores: usize) -> Option<usize> {
        let signers: Vec<_> =
            signers.iter().map(|(key, stores)| ((*key).to_owned(), stores.to_vec())).collect();
        requirement.parse::<Requirement>().unwrap().unmet(&signers, stores).map(|unmet| unmet.found)
    }

    #[test]
    fn signatures_are_counted_by_key() {
        assert_eq!(found("any", &[], 1), Some(0));
        assert_eq!(found("any", &[("a", &[0])], 1), None);
        assert_eq!(found("2 keys", &[("a", &[0]), ("a", &[0])], 1), Some(1));
        assert_eq!(found("2 keys", &[("a", &[0]), ("b", &[0])], 1), None);
    }

    #[test]
    fn a_key_counts_for_one_store() {
        assert_eq!(found("all", &[("a", &[0, 1])], 2), Some(1));
        assert_eq!(found("all", &[("a", &[0]), ("b", &[0])], 2), Some(1));
        assert_eq!(found("all", &[("a", &[0, 1]), ("b", &[0])], 2), None);
        assert_eq!(found("all", &[("a", &[0]), ("b", &[0, 1]), ("c", &[1, 2])], 3), None);
        assert_eq!(found("2 stores", &[("a", &[0]), ("b", &[2])], 3), None);
        assert_eq!(found("3 stores", &[("a", &[0]), ("b", &[2])], 3), Some(2));
    }

    #[test]
    fn requirements_are_written_as_they_are_read() {
        for text in ["any", "all", "2 keys", "3 stores"] {
            assert_eq!(text.parse::<Requirement>().unwrap().to_string(), text);
        }
        for text in ["", "none", "0 keys", "-1 keys", "2", "keys", "2 3", "2  keys"] {
            assert!(text.parse::<Requirement>().is_err(), "{text}");
        }
    }
}
