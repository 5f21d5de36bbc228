//! The whole of what is trusted.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use libverity::certificate::Certificate;

use super::error::{NoScope, TrustError};
use super::format::{Format, MAX_CONFIGURATION_BYTES};
use super::judge::Judge;
use super::repository::{Repository, RepositoryPattern};
use super::requirement::Requirement;
use super::revocation::RevocationList;
use super::scope::{Enforcement, Scope};
use super::store::{TrustStore, read_file};
use super::{notation, trust_toml};

/// Says which signers are trusted for which images.
#[derive(Clone, Debug)]
pub struct TrustConfiguration {
    /// Where it comes from, for reports.
    pub source: PathBuf,
    /// What is asked of which images.
    pub scopes: Vec<Scope>,
    /// What is trusted no longer, in whatever scope.
    pub revocations: RevocationList,
    /// What the file asks for and nothing here can do, for people.
    pub remarks: Vec<String>,
}

impl TrustConfiguration {
    /// Trusts these certificates for every image, as the kernel does: dates are only reported.
    pub fn of_anchors(name: &str, anchors: Vec<Certificate>) -> Self {
        let store = TrustStore { name: name.to_owned(), anchors, subjects: Vec::new() };
        let scope = Scope {
            name: name.to_owned(),
            patterns: vec![RepositoryPattern::EVERYTHING],
            stores: vec![store],
            requirement: Requirement::Any,
            authenticity: Enforcement::Enforce,
            validity: Enforcement::Log,
            revocation: Enforcement::Enforce,
        };
        Self {
            source: name.into(),
            scopes: vec![scope],
            revocations: RevocationList::default(),
            remarks: Vec::new(),
        }
    }

    /// Reads a file in either format, and the certificates that it names.
    ///
    /// # Errors
    ///
    /// Returns what is wrong with the file, with line and column where there are some, or with one of
    /// the certificates.
    pub fn read(path: &Path) -> Result<Self, TrustError> {
        let bytes = read_file(path, MAX_CONFIGURATION_BYTES)?;
        let text =
            String::from_utf8(bytes).map_err(|_| TrustError::NotText { path: path.to_owned() })?;
        Self::parse(&text, path)
    }

    /// Parses the text of the file at `path`; relative paths in it start in its directory.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, TrustError> {
        match Format::of(text) {
            Format::Notation => notation::parse(text, path),
            Format::Toml => trust_toml::parse(text, path),
        }
    }

    /// Returns who judges the images of a repository at the time `now`; without a repository, those
    /// that lie in a directory or an archive.
    ///
    /// # Errors
    ///
    /// Returns [`NoScope`] if the configuration does not say whom to trust for it.
    pub fn judge(
        &self,
        repository: Option<&Repository>,
        now: SystemTime,
    ) -> Result<Judge<'_>, NoScope> {
        let covering = self.scopes.iter().flat_map(|scope| {
            let covering = scope.patterns.iter().filter(|pattern| pattern.covers(repository));
            covering.map(move |pattern| (pattern, scope))
        });
        let (_, scope) =
            covering.max_by(|(one, _), (other, _)| one.precision(other)).ok_or_else(|| {
                NoScope {
                    path: self.source.clone(),
                    repository: repository.map(ToString::to_string),
                }
            })?;
        Ok(Judge { scope, revocations: &self.revocations, now })
    }

    /// Checks that no two scopes have the same name or pattern; `at` says where a scope stands.
    pub(super) fn checked(
        self,
        fail: impl Fn(usize, String) -> TrustError,
    ) -> Result<Self, TrustError> {
        for (number, scope) in self.scopes.iter().enumerate() {
            for other in &self.scopes[..number] {
                if other.name == scope.name {
                    return Err(fail(number, format!("a second scope is named {:?}", scope.name)));
                }
                let pattern = scope.patterns.iter().find(|own| other.patterns.contains(own));
                if let Some(pattern) = pattern {
                    return Err(fail(
                        number,
                        format!(
                            "the scopes {:?} and {:?} both have {:?}",
                            other.name,
                            scope.name,
                            pattern.to_string()
                        ),
                    ));
                }
            }
        }
        Ok(self)
    }
}
