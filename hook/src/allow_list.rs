//! Which repositories are signed.

use std::fmt;
use std::str::FromStr;

use crate::repository::Repository;

/// Names the repositories whose images are signed; no other one ever is.
#[derive(Clone, Debug)]
pub struct AllowList {
    allowed: Vec<Pattern>,
    denied: Vec<Pattern>,
}

impl AllowList {
    /// Allows what `allowed` matches and `denied` does not.
    ///
    /// # Errors
    ///
    /// Returns an error if nothing is allowed: that would be a hook with nothing to do, and more
    /// likely a mistake.
    pub fn new(allowed: Vec<Pattern>, denied: Vec<Pattern>) -> Result<Self, EmptyAllowList> {
        if allowed.is_empty() { Err(EmptyAllowList) } else { Ok(Self { allowed, denied }) }
    }

    /// Tells whether images in `repository` are signed.
    pub fn allows(&self, repository: &Repository) -> bool {
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(repository));
        any(&self.allowed) && !any(&self.denied)
    }
}

/// Says that an allow-list names no repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the allow-list is empty, so nothing would ever be signed")]
pub struct EmptyAllowList;

/// Matches names of repositories.
///
/// | pattern    | matches                                                   |
/// |------------|-----------------------------------------------------------|
/// | `team/app` | that repository                                           |
/// | `team/*`   | what is one level below: `team/app`, not `team/app/debug` |
/// | `team/**`  | everything below, not `team` itself                       |
/// | `*/app`    | `app` in whatever is one level above                      |
/// | `**`       | everything                                                |
///
/// A star stands for whole components of a name, and two stars stand at the end alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    components: Vec<Component>,
    /// Whether one or more components may follow.
    is_open: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Component {
    Any,
    Named(String),
}

impl Pattern {
    /// Tells whether the pattern matches the name of `repository`.
    pub fn matches(&self, repository: &Repository) -> bool {
        let mut names = repository.as_str().split('/');
        let matches_start = self.components.iter().all(|component| match component {
            Component::Any => names.next().is_some(),
            Component::Named(expected) => names.next() == Some(expected),
        });
        matches_start && names.next().is_some() == self.is_open
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let refused = || PatternError { pattern: text.chars().take(MAX_QUOTED).collect() };
        let (start, is_open) = match text.strip_suffix("**") {
            None => (text, false),
            Some("") => return Ok(Self { components: Vec::new(), is_open: true }),
            Some(start) => (start.strip_suffix('/').ok_or_else(refused)?, true),
        };
        let component = |name: &str| match name {
            "*" => Component::Any,
            name => Component::Named(name.to_owned()),
        };
        let components: Vec<_> = start.split('/').map(component).collect();
        // With a name for each star it must be a repository.
        let example: Vec<&str> = components
            .iter()
            .map(|component| match component {
                Component::Any => "x",
                Component::Named(name) => name,
            })
            .collect();
        example.join("/").parse::<Repository>().map_err(|_| refused())?;
        Ok(Self { components, is_open })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<&str> = self
            .components
            .iter()
            .map(|component| match component {
                Component::Any => "*",
                Component::Named(name) => name,
            })
            .collect();
        if self.is_open {
            names.push("**");
        }
        formatter.write_str(&names.join("/"))
    }
}

/// Says that a text is not a pattern of repositories.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{pattern:?} is not a pattern of repositories; write a name such as team/app, team/* for what \
     is one level below, or team/** for everything below"
)]
pub struct PatternError {
    /// The text, or the beginning of a long one.
    pub pattern: String,
}

/// How much of a wrong pattern is repeated in an error, in characters.
const MAX_QUOTED: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn list(allowed: &[&str], denied: &[&str]) -> AllowList {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        AllowList::new(parse(allowed), parse(denied)).unwrap()
    }

    fn allows(list: &AllowList, repository: &str) -> bool {
        list.allows(&repository.parse().unwrap())
    }

    #[test]
    fn stars_stand_for_whole_components() {
        for (pattern, matched, unmatched) in [
            ("team/app", vec!["team/app"], vec!["team", "team/app/x", "team/apps", "x/team/app"]),
            ("team/*", vec!["team/app", "team/x"], vec!["team", "team/app/x", "teams/app"]),
            ("team/**", vec!["team/app", "team/app/x"], vec!["team", "teams/app", "x/team/app"]),
            ("*/app", vec!["team/app"], vec!["app", "a/b/app", "team/x"]),
            ("*/app/**", vec!["team/app/x/y"], vec!["team/app", "team/x/y"]),
            ("*", vec!["app"], vec!["team/app"]),
            ("**", vec!["app", "a/b/c/d"], vec![]),
        ] {
            let list = list(&[pattern], &[]);
            for repository in matched {
                assert!(allows(&list, repository), "{pattern} {repository}");
            }
            for repository in unmatched {
                assert!(!allows(&list, repository), "{pattern} {repository}");
            }
        }
    }

    #[test]
    fn denial_wins() {
        let list = list(&["team/**", "team/secret"], &["team/secret", "*/private/**"]);
        assert!(allows(&list, "team/app") && allows(&list, "team/private"));
        assert!(!allows(&list, "team/secret") && !allows(&list, "team/private/app"));
    }

    #[test]
    fn wrong_patterns_and_empty_lists_are_refused() {
        for text in [
            "",
            "/",
            "team/",
            "/app",
            "team/a*",
            "**/app",
            "team/**/app",
            "team**",
            "*/**/*",
            "Team",
            "team/app:v1",
            "***",
            "team//app",
            "team/.",
            "r.example:5000/app",
        ] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
        assert_eq!(AllowList::new(Vec::new(), Vec::new()).unwrap_err(), EmptyAllowList);
    }

    #[test]
    fn patterns_are_written_as_they_were_read() {
        for text in ["team/app", "team/*", "team/**", "*/app/**", "*", "**"] {
            assert_eq!(text.parse::<Pattern>().unwrap().to_string(), text);
        }
    }
}
