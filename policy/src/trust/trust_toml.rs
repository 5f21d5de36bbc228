//! osguard's own file, `trust.toml`; `docs/trust.md` has an example with every field.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use libverity::certificate::{DistinguishedName, read_signature_lists};
use libverity::digest::{Digest, RootHash};
use serde::Deserialize;
use toml::Spanned;

use super::configuration::TrustConfiguration;
use super::error::{Position, TrustError};
use super::repository::RepositoryPattern;
use super::requirement::Requirement;
use super::revocation::{Revocation, RevocationList, Revoked, hexadecimal};
use super::scope::{Enforcement, Scope};
use super::store::{TrustStore, read_file};

/// Parses the text of the file at `path`, and reads the certificates that it names.
pub(super) fn parse(text: &str, path: &Path) -> Result<TrustConfiguration, TrustError> {
    let file = Source { text, path };
    // A later version may well have fields that are unknown here; that it is one says more.
    let Version { version } = file.parse()?;
    if version != VERSION {
        let (path, found) = (path.to_owned(), version.to_string());
        return Err(TrustError::Version { path, found, known: "1" });
    }
    let document: Document = file.parse()?;
    let mut stores = BTreeMap::new();
    for (name, table) in document.stores {
        stores.insert(name.clone(), file.store(&name, table)?);
    }
    let mut places = Vec::new();
    let mut scopes = Vec::new();
    for table in document.scopes {
        places.push(table.span().start);
        scopes.push(file.scope(table.into_inner(), &stores)?);
    }
    let entries = document.revoked.into_iter().map(|table| file.revocation(table));
    let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
    for path in &document.dbx {
        entries.extend(file.dbx(path)?);
    }
    let configuration = TrustConfiguration {
        source: path.to_owned(),
        scopes,
        revocations: RevocationList { entries },
        remarks: Vec::new(),
    };
    configuration.checked(|scope, problem| file.malformed(places[scope], problem))
}

struct Source<'a> {
    text: &'a str,
    path: &'a Path,
}

impl Source<'_> {
    fn parse<T: for<'de> Deserialize<'de>>(&self) -> Result<T, TrustError> {
        toml::from_str(self.text).map_err(|error| TrustError::Malformed {
            path: self.path.to_owned(),
            position: match error.span() {
                Some(span) => Position::of_byte(self.text, span.start),
                None => Position(None),
            },
            problem: error.message().lines().collect::<Vec<_>>().join(" "),
        })
    }

    fn malformed(&self, offset: usize, problem: String) -> TrustError {
        let position = Position::of_byte(self.text, offset);
        TrustError::Malformed { path: self.path.to_owned(), position, problem }
    }

    fn store(&self, name: &str, table: StoreTable) -> Result<TrustStore, TrustError> {
        let directory = self.path.parent().unwrap_or_else(|| Path::new(""));
        let paths: Vec<PathBuf> =
            table.certificates.iter().map(|path| directory.join(path)).collect();
        let mut store = TrustStore::read(name, &paths)?;
        for subject in table.subjects {
            let name: DistinguishedName = subject.get_ref().parse().map_err(
                |error: libverity::certificate::DistinguishedNameError| {
                    self.malformed(subject.span().start, error.to_string())
                },
            )?;
            store.subjects.push(name);
        }
        Ok(store)
    }

    fn scope(
        &self,
        table: ScopeTable,
        stores: &BTreeMap<String, TrustStore>,
    ) -> Result<Scope, TrustError> {
        let repositories = table.repositories.span().start;
        let patterns = table.repositories.into_inner();
        if patterns.is_empty() {
            return Err(self.malformed(repositories, "a scope needs a repository".to_owned()));
        }
        let named = table.stores.span().start;
        let mut chosen: Vec<TrustStore> = Vec::new();
        for name in table.stores.into_inner() {
            let unknown = || {
                let problem = format!("there is no [stores.{}]", name.get_ref());
                self.malformed(name.span().start, problem)
            };
            let store = stores.get(name.get_ref()).ok_or_else(unknown)?;
            if chosen.iter().any(|known| known.name == store.name) {
                let problem = format!("the store {:?} is named twice", store.name);
                return Err(self.malformed(name.span().start, problem));
            }
            chosen.push(store.clone());
        }
        if chosen.is_empty() {
            return Err(self.malformed(named, "a scope needs a store".to_owned()));
        }
        if let Requirement::Stores(count) = table.require
            && count > chosen.len()
        {
            let problem = format!("{count} stores are required, and {} are named", chosen.len());
            return Err(self.malformed(named, problem));
        }
        Ok(Scope {
            name: table.name.unwrap_or_else(|| patterns[0].to_string()),
            patterns,
            stores: chosen,
            requirement: table.require,
            authenticity: Enforcement::Enforce,
            validity: table.validity,
            revocation: Enforcement::Enforce,
        })
    }

    fn dbx(&self, path: &Path) -> Result<Vec<Revocation>, TrustError> {
        let path = self.path.parent().unwrap_or_else(|| Path::new("")).join(path);
        let contents = read_file(&path, MAX_DBX_BYTES)?;
        let entries = read_signature_lists(&contents)
            .map_err(|source| TrustError::SignatureList { path, source })?;
        Ok(entries.iter().filter_map(Revocation::of_dbx).collect())
    }

    fn revocation(&self, table: Spanned<RevokedTable>) -> Result<Revocation, TrustError> {
        let place = table.span().start;
        let malformed = |problem: &str| self.malformed(place, problem.to_owned());
        let RevokedTable { certificate, issuer, key, reason, root_hash, serial } =
            table.into_inner();
        let revoked = match (certificate, issuer, key, root_hash, serial) {
            (Some(digest), None, None, None, None) => Revoked::Certificate(digest),
            (None, Some(issuer), None, None, Some(serial)) => {
                let issuer = issuer.parse().map_err(
                    |error: libverity::certificate::DistinguishedNameError| {
                        malformed(&error.to_string())
                    },
                )?;
                let serial = hexadecimal(&serial)
                    .ok_or_else(|| malformed("serial has other than hexadecimal digits"))?;
                Revoked::Serial(issuer, serial.trim_start_matches('0').to_owned())
            }
            (None, None, Some(key), None, None) => Revoked::Key(
                hexadecimal(&key)
                    .ok_or_else(|| malformed("key has other than hexadecimal digits"))?,
            ),
            (None, None, None, Some(root_hash), None) => Revoked::RootHash(root_hash),
            _ => {
                return Err(malformed(
                    "one of key, certificate, root-hash, or issuer with serial is revoked at a time",
                ));
            }
        };
        Ok(Revocation { revoked, reason })
    }
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Document {
    #[serde(rename = "version")]
    _version: u32,
    #[serde(default)]
    dbx: Vec<PathBuf>,
    stores: BTreeMap<String, StoreTable>,
    scopes: Vec<Spanned<ScopeTable>>,
    #[serde(default)]
    revoked: Vec<Spanned<RevokedTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct StoreTable {
    certificates: Vec<PathBuf>,
    #[serde(default)]
    subjects: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ScopeTable {
    name: Option<String>,
    repositories: Spanned<Vec<RepositoryPattern>>,
    stores: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    require: Requirement,
    #[serde(default)]
    validity: Enforcement,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RevokedTable {
    certificate: Option<Digest>,
    issuer: Option<String>,
    key: Option<String>,
    reason: Option<String>,
    root_hash: Option<RootHash>,
    serial: Option<String>,
}

/// Ten times as long as the longest that there is; the variables of most machines hold less.
const MAX_DBX_BYTES: u64 = 256 << 10;

const VERSION: u32 = 1;
