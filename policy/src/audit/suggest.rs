//! What to do about many denials: each remedy once, with how many it settles.

use std::collections::{BTreeMap, BTreeSet};

use super::context::Context;
use super::explain::{Advice, KnownPolicy, Verdict, explain};
use super::record::Access;
use super::remedy::Remedy;

/// Collects denials, and what helps against them, in bounded memory.
#[derive(Debug, Default)]
pub struct Suggestions {
    remedies: BTreeMap<Remedy, Suggestion>,
    denials: u64,
    /// Denials against which nothing is known, by lack of facts.
    unexplained: u64,
    /// Denials for which there was no room any more.
    left_out: u64,
}

/// Is a remedy with what it settles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// The remedy, and whether it suffices.
    pub advice: Advice,
    /// What else would do, and reaches further.
    pub alternatives: Vec<Advice>,
    /// How many denials it settles.
    pub denials: u64,
    /// What was denied last, a sentence.
    pub example: String,
    /// The files, at most [`EXAMPLE_LIMIT`] of them.
    pub paths: BTreeSet<String>,
    /// The containers, at most [`EXAMPLE_LIMIT`] of them.
    pub containers: BTreeSet<String>,
}

impl Suggestions {
    /// Takes a record into account; what was allowed changes nothing.
    pub fn add(&mut self, access: &Access, context: &Context, policy: Option<&KnownPolicy>) {
        if !matches!(Verdict::of(access), Verdict::Denied | Verdict::WouldBeDenied) {
            return;
        }
        self.denials += 1;
        let explanation = explain(access, context, policy);
        let mut advices = explanation.remedies.into_iter();
        let Some(advice) = advices.next() else {
            self.unexplained += 1;
            return;
        };
        if !self.remedies.contains_key(&advice.remedy) && self.remedies.len() == REMEDY_LIMIT {
            self.left_out += 1;
            return;
        }
        let suggestion = self.remedies.entry(advice.remedy.clone()).or_insert_with(|| Suggestion {
            advice,
            alternatives: advices.collect(),
            denials: 0,
            example: String::new(),
            paths: BTreeSet::new(),
            containers: BTreeSet::new(),
        });
        suggestion.denials += 1;
        suggestion.example = explanation.what;
        let mut note = |set: fn(&mut Suggestion) -> &mut BTreeSet<String>, text: String| {
            let set = set(suggestion);
            if set.len() < EXAMPLE_LIMIT {
                set.insert(text);
            }
        };
        if let Some(path) = &access.path {
            note(|suggestion| &mut suggestion.paths, path.to_string_lossy().into_owned());
        }
        if let Some(container) = &context.container {
            let name = container.pod.clone().or_else(|| container.image.clone());
            let name = name.unwrap_or_else(|| container.id.to_string());
            note(|suggestion| &mut suggestion.containers, name);
        }
    }

    /// Returns what to do, what settles most first.
    pub fn in_order(&self) -> Vec<&Suggestion> {
        let mut all: Vec<_> = self.remedies.values().collect();
        all.sort_by_key(|suggestion| std::cmp::Reverse(suggestion.denials));
        all
    }

    /// Returns the count of denials.
    pub fn denials(&self) -> u64 {
        self.denials
    }

    /// Returns the count of denials against which nothing is known.
    pub fn unexplained(&self) -> u64 {
        self.unexplained
    }

    /// Returns the count of denials that were counted only, beyond [`REMEDY_LIMIT`] remedies.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }
}

/// More things to do than anybody reads.
pub const REMEDY_LIMIT: usize = 10_000;

/// How many files and containers are kept as examples of what a remedy is for.
pub const EXAMPLE_LIMIT: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::record::{Content, Record};

    fn access(path: &str, action: &str) -> Access {
        let line = format!(
            "IPE_ACCESS ipe_op=EXECUTE ipe_hook=BPRM_CHECK enforcing=1 pid=1 comm=\"sh\" path=\"{path}\" \
             dev=\"tmpfs\" ino=1 rule=\"DEFAULT op=EXECUTE action={action}\""
        );
        match Record::of_line(line.as_bytes()).unwrap().unwrap().content {
            Content::Access(access) => access,
            other => panic!("{other:?}"),
        }
    }

    fn add(suggestions: &mut Suggestions, path: &str, action: &str) {
        let access = access(path, action);
        suggestions.add(&access, &Context::of_record(&access), None);
    }

    #[test]
    fn what_settles_most_comes_first_and_once() {
        let mut suggestions = Suggestions::default();
        for path in ["/a", "/b", "/b", "/c"] {
            add(&mut suggestions, path, "DENY");
        }
        add(&mut suggestions, "/b", "ALLOW");
        let all = suggestions.in_order();
        assert_eq!(suggestions.denials(), 4);
        let shown: Vec<_> =
            all.iter().map(|one| (one.denials, one.advice.remedy.to_string())).collect();
        assert_eq!(shown[0], (2, "put /b into a signed image".to_owned()));
        assert_eq!(shown.len(), 3);
    }

    #[test]
    fn memory_is_bounded() {
        let mut suggestions = Suggestions::default();
        for number in 0..REMEDY_LIMIT + 5 {
            add(&mut suggestions, &format!("/{number}"), "DENY");
        }
        assert_eq!(suggestions.in_order().len(), REMEDY_LIMIT);
        assert_eq!(suggestions.left_out(), 5);
    }
}
