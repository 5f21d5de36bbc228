//! The configuration files of docker and podman.

use std::collections::BTreeMap;

use base64ct::{Base64Unpadded, Encoding as _};
use serde::Deserialize;
use serde_json::error::Category;
use zeroize::Zeroizing;

use super::server::Key;
use super::{Credential, CredentialError, Secret, Source};

/// Is what a configuration file says about credentials.
///
/// | member                    | says                                                        |
/// |---------------------------|-------------------------------------------------------------|
/// | `auths.KEY.auth`          | user name, colon and password, in Base64                    |
/// | `auths.KEY.username`, `.password` | the same in the clear; `auth` comes before them     |
/// | `auths.KEY.identitytoken` | a token for the token service; comes before `auth`          |
/// | `auths.KEY.registrytoken` | a token for the registry; comes before all others           |
/// | `credHelpers.HOST`        | the helper for one registry                                 |
/// | `credsStore`              | the helper for all others                                   |
///
/// Source: docker's `config.json`, `cli/config/configfile/file.go` and `cli/config/types` in
/// docker/cli; `containers-auth.json(5)`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConfigFile {
    auths: Option<BTreeMap<String, Option<Entry>>>,
    cred_helpers: Option<BTreeMap<String, String>>,
    creds_store: Option<String>,
}

impl ConfigFile {
    /// Parses the content of `place`; empty content is an empty configuration, as docker has it.
    pub(super) fn parse(bytes: &[u8], place: &Source) -> Result<Self, CredentialError> {
        if bytes.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_slice(bytes).map_err(|error| CredentialError::Malformed {
            place: place.clone(),
            reason: reason_without_values(&error),
        })
    }

    /// Returns the name of the registry's own helper; an empty one says that it has none, not even
    /// the one for all others.
    pub(super) fn helper(&self, registry: &str) -> Option<&str> {
        let helpers = self.cred_helpers.iter().flatten();
        let keys = helpers.map(|(key, name)| (Key::parse(key), name));
        keys.filter(|(key, _)| key.is_registry(registry))
            .max_by_key(|(key, _)| key.fitness(registry))
            .map(|(_, name)| name.as_str())
    }

    /// Returns the name of the helper for all registries.
    pub(super) fn store(&self) -> Option<&str> {
        self.creds_store.as_deref().filter(|name| !name.is_empty())
    }

    /// Returns the credential that the file itself has for a repository.
    ///
    /// Entries without a credential, which docker writes when a helper has it, do not count.
    pub(super) fn entry(
        &self,
        registry: &str,
        repository: &str,
        place: &Source,
    ) -> Result<Option<Credential>, CredentialError> {
        let entries = self.auths.iter().flatten();
        let keys =
            entries.filter_map(|(text, entry)| Some((text, Key::parse(text), entry.as_ref()?)));
        let mut fitting: Vec<_> =
            keys.filter(|(_, key, _)| key.covers(registry, repository)).collect();
        fitting.sort_by_key(|(_, key, _)| std::cmp::Reverse(key.fitness(registry)));
        for (text, _, entry) in fitting {
            let credential = entry.credential().map_err(|reason| CredentialError::Entry {
                place: place.clone(),
                key: text.clone(),
                reason,
            })?;
            if credential.is_some() {
                return Ok(credential);
            }
        }
        Ok(None)
    }
}

#[derive(Debug, Deserialize)]
struct Entry {
    auth: Option<Secret>,
    identitytoken: Option<Secret>,
    password: Option<Secret>,
    registrytoken: Option<Secret>,
    username: Option<String>,
}

impl Entry {
    fn credential(&self) -> Result<Option<Credential>, &'static str> {
        if let Some(token) = given(self.registrytoken.as_ref()) {
            return Ok(Some(Credential::Bearer { token: token.clone() }));
        }
        if let Some(token) = given(self.identitytoken.as_ref()) {
            return Ok(Some(Credential::IdentityToken { token: token.clone() }));
        }
        let (username, password) = match given(self.auth.as_ref()) {
            Some(auth) => decode(auth.expose())?,
            None => {
                let password = self.password.clone().unwrap_or_else(|| Secret::new(String::new()));
                (self.username.clone().unwrap_or_default(), password)
            }
        };
        if username.is_empty() && password.expose().is_empty() {
            return Ok(None);
        }
        Ok(Some(Credential::Basic { username, password }))
    }
}

fn given(secret: Option<&Secret>) -> Option<&Secret> {
    secret.filter(|secret| !secret.expose().is_empty())
}

/// Decodes the member `auth`.
///
/// Files are written by hand, too: with line breaks, which `base64` inserts, and without padding.
/// Old versions of docker filled the password up with zero bytes.
fn decode(auth: &str) -> Result<(String, Secret), &'static str> {
    let text: String = auth.chars().filter(|letter| !"\r\n".contains(*letter)).collect();
    let text = Zeroizing::new(text);
    let bytes = Base64Unpadded::decode_vec(text.trim_end_matches('='))
        .map(Zeroizing::new)
        .map_err(|_| "its member auth is not Base64")?;
    let decoded =
        std::str::from_utf8(&bytes).map_err(|_| "its member auth is not UTF-8 in Base64")?;
    let (username, password) =
        decoded.split_once(':').ok_or("its member auth is not USER:PASSWORD in Base64")?;
    Ok((username.to_owned(), Secret::new(password.trim_matches('\0').to_owned())))
}

/// Says what is wrong with a JSON text, but never with which value: it may be a secret.
pub(super) fn reason_without_values(error: &serde_json::Error) -> String {
    match error.classify() {
        Category::Data => {
            format!(
                "a missing or unexpected value at line {} column {}",
                error.line(),
                error.column()
            )
        }
        Category::Eof | Category::Io | Category::Syntax => error.to_string(),
    }
}
