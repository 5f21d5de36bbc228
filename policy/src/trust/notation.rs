//! notation's files: `trustpolicy.oci.json`, and the certificates in `truststore/x509/ca/NAME/` beside
//! it.
//!
//! What is a mistake for notation 1.3 is one here, in its terms. What its levels ask for is checked
//! as far as root-hash signatures have it:
//!
//! | notation | here |
//! |---|---|
//! | integrity | the kernel's rules, and the root hash |
//! | authenticity | a trusted certificate, and one of the identities |
//! | authenticTimestamp | the certificates are valid now, for a root-hash signature has no timestamp |
//! | expiry | nothing: a root-hash signature does not expire by itself |
//! | revocation | nothing: neither OCSP nor revocation lists are asked |
//!
//! Source: Notary Project, `specs/trust-store-trust-policy.md`; notation-go,
//! `verifier/trustpolicy`.

use std::collections::BTreeMap;
use std::path::Path;

use libverity::certificate::DistinguishedName;
use serde::Deserialize;

use super::configuration::TrustConfiguration;
use super::error::{Position, TrustError};
use super::repository::RepositoryPattern;
use super::requirement::Requirement;
use super::revocation::RevocationList;
use super::scope::{Enforcement, Scope};
use super::store::TrustStore;

/// Parses the text of the file at `path`, and reads the trust stores that it names.
pub(super) fn parse(text: &str, path: &Path) -> Result<TrustConfiguration, TrustError> {
    let malformed = |error: serde_json::Error| TrustError::Malformed {
        path: path.to_owned(),
        position: Position(Some((error.line(), error.column()))),
        problem: without_position(&error),
    };
    let Version { version } = serde_json::from_str(text).map_err(malformed)?;
    if version != VERSION {
        let path = path.to_owned();
        return Err(TrustError::Version { path, found: version, known: VERSION });
    }
    let document: Document = serde_json::from_str(text).map_err(malformed)?;
    let fail = |problem: String| TrustError::Malformed {
        path: path.to_owned(),
        position: Position(None),
        problem,
    };
    if document.trust_policies.is_empty() {
        return Err(fail("it has no trust policy".to_owned()));
    }
    let mut remarks = Vec::new();
    let mut scopes = Vec::new();
    for statement in document.trust_policies {
        let name = statement.name.clone();
        let in_statement = |problem| fail(format!("trust policy {name:?}: {problem}"));
        scopes.push(statement.scope(path, &in_statement, &mut remarks)?);
    }
    TrustConfiguration {
        source: path.to_owned(),
        scopes,
        revocations: RevocationList::default(),
        remarks,
    }
    .checked(|_, problem| fail(problem))
}

impl Statement {
    fn scope(
        self,
        path: &Path,
        fail: &dyn Fn(String) -> TrustError,
        remarks: &mut Vec<String>,
    ) -> Result<Scope, TrustError> {
        if self.name.is_empty() {
            return Err(fail("it has no name".to_owned()));
        }
        let patterns = patterns(&self.registry_scopes).map_err(fail)?;
        let levels = self.signature_verification.levels().map_err(fail)?;
        let has_signers = !self.trust_stores.is_empty() && !self.trusted_identities.is_empty();
        let has_neither = self.trust_stores.is_empty() && self.trusted_identities.is_empty();
        if levels.authenticity == Enforcement::Skip {
            if !has_neither {
                return Err(fail("it skips verification and yet names whom to trust".to_owned()));
            }
        } else if !has_signers {
            return Err(fail("it needs trustStores and trustedIdentities".to_owned()));
        }
        let subjects = subjects(&self.trusted_identities).map_err(fail)?;
        let mut stores = Vec::new();
        for store in &self.trust_stores {
            let (kind, name) = store
                .split_once(':')
                .filter(|(_, name)| is_store_name(name))
                .ok_or_else(|| fail(format!("{store:?} is no trust store: write ca:NAME")))?;
            match kind {
                "ca" => {}
                "signingAuthority" | "tsa" => {
                    remarks.push(format!(
                        "trust policy {:?}: {store} is of no use for root-hash signatures",
                        self.name
                    ));
                    continue;
                }
                _ => return Err(fail(format!("{store:?} is of an unknown type"))),
            }
            let root = path.parent().unwrap_or_else(|| Path::new(""));
            let directory = root.join("truststore/x509/ca").join(name);
            stores.push(TrustStore {
                subjects: subjects.clone(),
                ..TrustStore::read(store, &[directory])?
            });
        }
        if levels.revocation == Enforcement::Enforce {
            remarks.push(format!(
                "trust policy {:?}: neither OCSP nor revocation lists are asked",
                self.name
            ));
        }
        Ok(Scope {
            name: self.name,
            patterns,
            stores,
            requirement: Requirement::Any,
            authenticity: levels.authenticity,
            validity: levels.validity,
            revocation: levels.revocation,
        })
    }
}

fn patterns(scopes: &[String]) -> Result<Vec<RepositoryPattern>, String> {
    match scopes {
        [] => Err("it has no registryScopes".to_owned()),
        [all] if all == "*" => Ok(vec![RepositoryPattern::EVERYTHING]),
        scopes => scopes
            .iter()
            .map(|scope| match scope.contains('*') {
                true => Err(format!("{scope:?}: `*` is a registry scope by itself alone")),
                false => scope.parse().map_err(|_| {
                    format!("{scope:?} is no registry scope: write HOST/REPOSITORY, without a tag")
                }),
            })
            .collect(),
    }
}

/// Returns the subjects, none of which stands for all.
fn subjects(identities: &[String]) -> Result<Vec<DistinguishedName>, String> {
    if identities.iter().any(|identity| identity == "*") {
        return match identities.len() {
            1 => Ok(Vec::new()),
            _ => Err("the trusted identity `*` stands by itself alone".to_owned()),
        };
    }
    let mut subjects: Vec<DistinguishedName> = Vec::new();
    for identity in identities {
        // Plugins may have identities of their own; there is none that could judge them here.
        let Some(name) = identity.strip_prefix("x509.subject:") else {
            return Err(format!("{identity:?} is no trusted identity: write x509.subject: NAME"));
        };
        let name: DistinguishedName =
            name.parse().map_err(|error| format!("{identity:?}: {error}"))?;
        if let Some(missing) = ["C", "ST", "O"].into_iter().find(|attribute| !name.has(attribute)) {
            return Err(format!("{identity:?} lacks {missing}; C, ST and O are the least"));
        }
        if subjects.iter().any(|known| known.contains(&name) || name.contains(known)) {
            return Err(format!("{identity:?} overlaps with another trusted identity"));
        }
        subjects.push(name);
    }
    Ok(subjects)
}

struct Levels {
    authenticity: Enforcement,
    validity: Enforcement,
    revocation: Enforcement,
}

impl SignatureVerification {
    fn levels(&self) -> Result<Levels, String> {
        use Enforcement::{Enforce, Log, Skip};
        let [authenticity, validity, revocation] = match self.level.as_str() {
            "strict" => [Enforce; 3],
            "permissive" => [Enforce, Log, Log],
            "audit" => [Log; 3],
            "skip" => [Skip; 3],
            level => return Err(format!("{level:?} is no level of verification")),
        };
        if authenticity == Skip && !self.overrides.is_empty() {
            return Err("the level skip has nothing to override".to_owned());
        }
        let mut levels = Levels { authenticity, validity, revocation };
        for (check, &action) in &self.overrides {
            let level = match check.as_str() {
                "authenticity" => &mut levels.authenticity,
                "authenticTimestamp" => &mut levels.validity,
                "expiry" => &mut Enforce,
                "revocation" => &mut levels.revocation,
                "integrity" => return Err("integrity cannot be overridden".to_owned()),
                _ => return Err(format!("{check:?} is nothing that is verified")),
            };
            if action == Skip && check != "revocation" {
                return Err(format!("{check} cannot be skipped by itself"));
            }
            *level = action;
        }
        Ok(levels)
    }
}

fn is_store_name(name: &str) -> bool {
    let is_dots = name.bytes().all(|byte| byte == b'.');
    !is_dots && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// Takes the place off the end of a message, where serde_json puts it.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Document {
    #[serde(rename = "version")]
    _version: String,
    trust_policies: Vec<Statement>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Statement {
    name: String,
    registry_scopes: Vec<String>,
    signature_verification: SignatureVerification,
    #[serde(default)]
    trust_stores: Vec<String>,
    #[serde(default)]
    trusted_identities: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SignatureVerification {
    level: String,
    #[serde(default, rename = "override")]
    overrides: BTreeMap<String, Enforcement>,
    /// When notation asks for timestamps, which root-hash signatures do not have.
    #[serde(default, rename = "verifyTimestamp")]
    _verify_timestamp: Option<VerifyTimestamp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum VerifyTimestamp {
    AfterCertExpiry,
    Always,
}

const VERSION: &str = "1.0";
