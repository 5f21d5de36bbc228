//! What is asked of the layers of a repository.

use osguard_policy::trust::{Repository, RepositoryPattern};
use serde::{Deserialize, Serialize};

/// Says what happens to layers without a signature that the kernel accepts.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureMode {
    /// No signature is looked for, and every layer is mounted through dm-verity without one.
    Off,
    /// They are mounted through dm-verity without a signature, and counted.
    Prefer,
    /// They are refused.
    #[default]
    Require,
}

impl SignatureMode {
    /// Returns the name as it is configured.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Prefer => "prefer",
            Self::Require => "require",
        }
    }
}

/// Holds the modes of repositories.
#[derive(Clone, Debug, Default)]
pub(crate) struct Modes {
    /// Counts where no pattern covers a repository, and for layers that are of no known one.
    default: SignatureMode,
    patterns: Vec<(RepositoryPattern, SignatureMode)>,
}

impl Modes {
    pub(crate) fn new(
        default: SignatureMode,
        patterns: Vec<(RepositoryPattern, SignatureMode)>,
    ) -> Self {
        Self { default, patterns }
    }

    /// Returns the mode of what is of no repository: of layers that were imported, and of what containers have written.
    pub(crate) fn default_mode(&self) -> SignatureMode {
        self.default
    }

    /// Returns the strictest of the modes of `repositories`, in which a layer lies.
    ///
    /// What is no name of a repository counts as none: no pattern can have meant it.
    pub(crate) fn of<'a>(
        &self,
        repositories: impl IntoIterator<Item = &'a String>,
    ) -> SignatureMode {
        let modes = repositories.into_iter().map(|name| match name.parse() {
            Ok(repository) => self.of_repository(&repository),
            Err(_) => self.default,
        });
        modes.max().unwrap_or(self.default)
    }

    fn of_repository(&self, repository: &Repository) -> SignatureMode {
        let covering = self.patterns.iter().filter(|(pattern, _)| pattern.covers(Some(repository)));
        let precise = covering.max_by(|(one, _), (other, _)| one.precision(other));
        precise.map_or(self.default, |(_, mode)| *mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_precise_pattern_and_the_strictest_repository_count() {
        let pattern = |text: &str, mode| (text.parse().unwrap(), mode);
        let modes = Modes::new(
            SignatureMode::Require,
            vec![
                pattern("registry.example/**", SignatureMode::Prefer),
                pattern("registry.example/team/app", SignatureMode::Off),
            ],
        );
        let of = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            modes.of(&names)
        };
        assert_eq!(of(&["registry.example/team/app"]), SignatureMode::Off);
        assert_eq!(of(&["registry.example/team/other"]), SignatureMode::Prefer);
        assert_eq!(of(&["other.example/team/app"]), SignatureMode::Require);
        assert_eq!(of(&[]), SignatureMode::Require);
        assert_eq!(of(&["no repository"]), SignatureMode::Require);
        let both = ["registry.example/team/app", "registry.example/team/other"];
        assert_eq!(of(&both), SignatureMode::Prefer);
        assert_eq!(of(&["registry.example/team/app", "x.example/y"]), SignatureMode::Require);
    }
}
