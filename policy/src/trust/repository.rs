//! Repositories, and patterns of their names.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// Names a repository in a registry, as `HOST[:PORT]/PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    components: Vec<String>,
}

impl fmt::Display for Repository {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.components.join("/"))
    }
}

impl FromStr for Repository {
    type Err = RepositoryError;

    fn from_str(text: &str) -> Result<Self, RepositoryError> {
        let components: Vec<String> = text.split('/').map(str::to_owned).collect();
        let (host, path) = components.split_at(1);
        let is_repository = text.len() <= MAX_PATTERN_BYTES
            && !path.is_empty()
            && host.iter().all(|host| is_component(host))
            && path.iter().all(|component| is_component(component) && !component.contains(':'));
        if !is_repository {
            return Err(RepositoryError { text: text.chars().take(MAX_PATTERN_BYTES).collect() });
        }
        Ok(Self { components })
    }
}

/// Says that a text names no repository.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not HOST/REPOSITORY, without a tag or digest")]
pub struct RepositoryError {
    /// The text, or its start.
    pub text: String,
}

/// Covers repositories by the components of their names.
///
/// | pattern | covers |
/// |---|---|
/// | `registry.example/team/app` | this repository alone |
/// | `registry.example/*/app` | one with any single component in the place of `*`, the host included |
/// | `registry.example/team/**` | all below `registry.example/team` |
/// | `**`, `*` | all, and images that lie in no registry |
///
/// Of several patterns that cover a repository the most precise one counts: in the first component
/// where they differ, a name comes before `*`, and `*` before `**`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct RepositoryPattern {
    components: Vec<Component>,
    /// Whether any further components may follow.
    is_open: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Component {
    Any,
    Name(String),
}

impl RepositoryPattern {
    /// Covers everything.
    pub const EVERYTHING: Self = Self { components: Vec::new(), is_open: true };

    /// Tells whether the pattern covers a repository; without one, whether it covers everything.
    pub fn covers(&self, repository: Option<&Repository>) -> bool {
        let Some(Repository { components }) = repository else {
            return *self == Self::EVERYTHING;
        };
        let wanted = &self.components;
        let fits_in_length = match self.is_open {
            true => components.len() > wanted.len(),
            false => components.len() == wanted.len(),
        };
        fits_in_length
            && wanted.iter().zip(components).all(|(wanted, component)| match wanted {
                Component::Any => true,
                Component::Name(name) => name == component,
            })
    }

    /// Compares two patterns that cover the same repository; the more precise one is greater.
    pub fn precision(&self, other: &Self) -> Ordering {
        let is_name = |component: &Component| matches!(component, Component::Name(_));
        let mut pairs = self.components.iter().zip(&other.components);
        let differing = pairs.find(|(one, other)| is_name(one) != is_name(other));
        match differing {
            Some((one, _)) if is_name(one) => Ordering::Greater,
            Some(_) => Ordering::Less,
            // One ends, and then has `**` where the other still has something.
            None => (self.components.len(), !self.is_open)
                .cmp(&(other.components.len(), !other.is_open)),
        }
    }
}

impl fmt::Display for RepositoryPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let components = self.components.iter().map(|component| match component {
            Component::Any => "*",
            Component::Name(name) => name,
        });
        let all: Vec<&str> = components.chain(self.is_open.then_some("**")).collect();
        formatter.write_str(&all.join("/"))
    }
}

impl FromStr for RepositoryPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text == "*" {
            return Ok(Self::EVERYTHING);
        }
        let error = || PatternError { pattern: text.chars().take(MAX_PATTERN_BYTES).collect() };
        let (text, is_open) = match text.strip_suffix("**") {
            Some("") => return Ok(Self::EVERYTHING),
            Some(rest) => (rest.strip_suffix('/').ok_or_else(error)?, true),
            None => (text, false),
        };
        let component = |component: &str| match component {
            "*" => Some(Component::Any),
            name => is_component(name).then(|| Component::Name(name.to_owned())),
        };
        let components: Vec<Component> =
            text.split('/').map(component).collect::<Option<_>>().ok_or_else(error)?;
        let has_tag = components
            .iter()
            .skip(1)
            .any(|component| matches!(component, Component::Name(name) if name.contains(':')));
        if text.len() > MAX_PATTERN_BYTES || has_tag || (components.len() < 2 && !is_open) {
            return Err(error());
        }
        Ok(Self { components, is_open })
    }
}

impl TryFrom<String> for RepositoryPattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        text.parse()
    }
}

/// Says that a text is no pattern of repositories.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{pattern:?} is no pattern of repositories: write HOST/REPOSITORY without a tag, `*` for one \
     component, or `**` at the end for all below"
)]
pub struct PatternError {
    /// The text, or its start.
    pub pattern: String,
}

/// Tells what can be a host or a part of a path; what it may be in detail is for the registry to
/// say.
fn is_component(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"*@\"'\\".contains(&byte))
        && !text.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// Twice as long as the longest name of a repository.
const MAX_PATTERN_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> RepositoryPattern {
        text.parse().unwrap()
    }

    fn covers(text: &str, repository: &str) -> bool {
        pattern(text).covers(Some(&repository.parse().unwrap()))
    }

    #[test]
    fn patterns_cover_components() {
        let repository = "registry.example:5000/team/app";
        for text in [
            repository,
            "registry.example:5000/*/app",
            "*/team/app",
            "registry.example:5000/team/*",
            "registry.example:5000/team/**",
            "registry.example:5000/**",
            "*/**",
            "**",
            "*",
        ] {
            assert!(covers(text, repository), "{text}");
        }
        for text in [
            "registry.example/team/app",
            "registry.example:5000/team",
            "registry.example:5000/*",
            "registry.example:5000/team/app/**",
            "registry.example:5000/team/app/*",
            "registry.example:5000/te",
            "other/**",
        ] {
            assert!(!covers(text, repository), "{text}");
        }
        assert!(pattern("**").covers(None) && pattern("*").covers(None));
        assert!(!pattern("*/**").covers(None));
    }

    #[test]
    fn the_more_precise_pattern_is_greater() {
        let from_general_to_precise = [
            "**",
            "*/**",
            "*/*/app",
            "*/team/*",
            "*/team/app",
            "h/**",
            "h/*/**",
            "h/*/app",
            "h/team/**",
            "h/team/*",
            "h/team/app",
        ];
        for pair in from_general_to_precise.windows(2) {
            let [general, precise] = [pattern(pair[0]), pattern(pair[1])];
            assert_eq!(precise.precision(&general), Ordering::Greater, "{pair:?}");
            assert_eq!(general.precision(&precise), Ordering::Less, "{pair:?}");
        }
    }

    #[test]
    fn patterns_are_written_as_they_are_read() {
        for text in ["h/a", "*/a/*", "h/a/**", "**", "h:5000/a", "h/**"] {
            assert_eq!(pattern(text).to_string(), text);
        }
        assert_eq!(pattern("*").to_string(), "**");
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in [
            "",
            "h",
            "h/",
            "/a",
            "h//a",
            "h/a:v1",
            "h/a@sha256:00",
            "h/a*",
            "h/**/a",
            "h/***",
            "h/A",
            "h/ a",
            "**/a",
        ] {
            assert!(text.parse::<RepositoryPattern>().is_err(), "{text:?}");
        }
        for text in ["", "h", "h/*", "h/a:v1", "h/a@sha256:00", "**"] {
            assert!(text.parse::<Repository>().is_err(), "{text:?}");
        }
    }
}
