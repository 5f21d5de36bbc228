//! Challenges: how a registry says what it wants to see before it answers.

/// Is what a registry asks for in the header `WWW-Authenticate`.
///
/// Sources: RFC 9110, section 11.6.1; distribution's "Token Authentication Specification".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// Name and password with each request.
    Basic,
    /// A token, which another server gives out.
    Bearer(Bearer),
}

/// Says where tokens are to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// The URL of the token server.
    pub realm: String,
    /// The name by which the token server knows the registry.
    pub service: Option<String>,
    /// What the token must allow, in the registry's words.
    pub scope: Option<String>,
    /// Why the token that was shown is not good enough.
    pub error: Option<String>,
}

impl Challenge {
    /// Chooses among all challenges of an answer: Bearer before Basic. Schemes that are not known
    /// here are passed over.
    ///
    /// # Errors
    ///
    /// Returns an error if a header cannot be read as challenges, or if none is of a known scheme.
    pub fn choose<'a>(headers: impl IntoIterator<Item = &'a str>) -> Result<Self, ChallengeError> {
        let mut schemes = Vec::new();
        let mut chosen: Option<Self> = None;
        for header in headers {
            if header.len() > MAX_HEADER_BYTES {
                return Err(ChallengeError::TooLong {
                    limit_bytes: MAX_HEADER_BYTES,
                    found_bytes: header.len(),
                });
            }
            let parsed =
                parse(header).ok_or_else(|| ChallengeError::Malformed { header: shown(header) })?;
            for (scheme, parameters) in parsed {
                match known(&scheme, parameters)? {
                    Some(bearer @ Self::Bearer(_)) if !matches!(chosen, Some(Self::Bearer(_))) => {
                        chosen = Some(bearer);
                    }
                    Some(basic) => chosen = chosen.or(Some(basic)),
                    None => schemes.push(shown(&scheme)),
                }
            }
        }
        chosen.ok_or(ChallengeError::UnknownSchemes { schemes })
    }
}

/// Says why a challenge cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChallengeError {
    /// The header does not follow the grammar.
    #[error("the header WWW-Authenticate is malformed: {header:?}")]
    Malformed {
        /// The header, shortened.
        header: String,
    },
    /// A Bearer challenge does not say where tokens are to be had.
    #[error("the challenge Bearer names no realm")]
    NoRealm,
    /// A parameter occurs twice in one challenge, and two readers could take different ones.
    #[error("the challenge {scheme} has the parameter {parameter} twice")]
    Twice {
        /// The scheme of the challenge.
        scheme: String,
        /// The name of the parameter.
        parameter: String,
    },
    /// The header is longer than what is taken from outside.
    #[error("the header WWW-Authenticate has {found_bytes} bytes, and {limit_bytes} are the limit")]
    TooLong {
        /// How many bytes are allowed.
        limit_bytes: usize,
        /// How many there are.
        found_bytes: usize,
    },
    /// There is no challenge of a scheme that is known here.
    #[error("it asks for {}, and Basic and Bearer are known", known_schemes(schemes))]
    UnknownSchemes {
        /// The schemes that there are.
        schemes: Vec<String>,
    },
}

fn known(
    scheme: &str,
    parameters: Vec<(String, String)>,
) -> Result<Option<Challenge>, ChallengeError> {
    if scheme.eq_ignore_ascii_case("basic") {
        return Ok(Some(Challenge::Basic));
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Ok(None);
    }
    let mut bearer = Bearer { realm: String::new(), service: None, scope: None, error: None };
    let mut realm = None;
    for (name, value) in parameters {
        let place = match name.as_str() {
            "realm" => &mut realm,
            "service" => &mut bearer.service,
            "scope" => &mut bearer.scope,
            "error" => &mut bearer.error,
            _ => continue,
        };
        if place.replace(value).is_some() {
            return Err(ChallengeError::Twice { scheme: "Bearer".to_owned(), parameter: name });
        }
    }
    bearer.realm = realm.filter(|realm| !realm.is_empty()).ok_or(ChallengeError::NoRealm)?;
    Ok(Some(Challenge::Bearer(bearer)))
}

type Parsed = Vec<(String, Vec<(String, String)>)>;

/// Reads `challenge *( "," challenge )`, where a challenge is a scheme with parameters that are
/// separated by commas as well: a word that is followed by `=` is a parameter.
fn parse(header: &str) -> Option<Parsed> {
    let mut rest = header.trim_matches(is_space);
    let mut challenges: Parsed = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(',') {
            rest = after.trim_start_matches(is_space);
            continue;
        }
        let (word, after) = token(rest)?;
        match after.trim_start_matches(is_space).strip_prefix('=') {
            Some(value) if !challenges.is_empty() => {
                let (value, after) = value_of(value.trim_start_matches(is_space))?;
                let parameters = &mut challenges.last_mut()?.1;
                if parameters.len() == MAX_PARAMETERS {
                    return None;
                }
                parameters.push((word.to_ascii_lowercase(), value));
                rest = end_of_item(after)?;
            }
            Some(_) => return None,
            None => {
                if challenges.len() == MAX_CHALLENGES {
                    return None;
                }
                challenges.push((word.to_owned(), Vec::new()));
                let after_space = after.trim_start_matches(is_space);
                if after_space.len() == after.len() && !after.is_empty() && !after.starts_with(',')
                {
                    return None;
                }
                rest = after_token68(after_space);
            }
        }
    }
    Some(challenges)
}

/// Passes over the one value without a name that a challenge may have instead of parameters, as
/// Negotiate does.
fn after_token68(text: &str) -> &str {
    let end = text
        .find(|character: char| !character.is_ascii_alphanumeric() && !"-._~+/".contains(character))
        .unwrap_or(text.len());
    let rest = text[end..].trim_start_matches('=').trim_start_matches(is_space);
    if end > 0 && (rest.is_empty() || rest.starts_with(',')) { rest } else { text }
}

fn end_of_item(rest: &str) -> Option<&str> {
    let rest = rest.trim_start_matches(is_space);
    (rest.is_empty() || rest.starts_with(',')).then_some(rest)
}

fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = token(text)?;
        return Some((value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            character if character.is_control() => return None,
            character => value.push(character),
        }
    }
    None
}

fn token(text: &str) -> Option<(&str, &str)> {
    let is_token = |character: char| {
        character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(character)
    };
    let end = text.find(|character| !is_token(character)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t')
}

fn shown(text: &str) -> String {
    text.chars().take(MAX_SHOWN_CHARACTERS).collect()
}

fn known_schemes(schemes: &[String]) -> String {
    if schemes.is_empty() { "nothing".to_owned() } else { schemes.join(", ") }
}

/// Longer than any real challenge; those with a scope for many repositories have some hundreds.
const MAX_HEADER_BYTES: usize = 8192;
const MAX_CHALLENGES: usize = 16;
const MAX_PARAMETERS: usize = 32;
const MAX_SHOWN_CHARACTERS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer(Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
            error: None,
        })
    }

    #[test]
    fn real_challenges_are_read() {
        let choose = |header| Challenge::choose([header]).unwrap();
        assert_eq!(choose("Basic realm=\"Registry Realm\""), Challenge::Basic);
        assert_eq!(choose("basic realm=simple"), Challenge::Basic);
        assert_eq!(choose("Basic"), Challenge::Basic);
        assert_eq!(
            choose(
                "Bearer realm=\"https://auth.example/token\",service=\"r.example\",\
                 scope=\"repository:a/b:pull,push\""
            ),
            bearer(
                "https://auth.example/token",
                Some("r.example"),
                Some("repository:a/b:pull,push")
            )
        );
        assert_eq!(
            choose("bearer  Realm = \"https://a/\\\"t\" , , service=r"),
            bearer("https://a/\"t", Some("r"), None)
        );
        assert_eq!(
            choose("Negotiate YWJjZA==, Basic realm=\"x\", Bearer realm=\"https://a/t\""),
            bearer("https://a/t", None, None)
        );
        assert_eq!(
            choose("Negotiate, Basic realm=\"x, Bearer realm=\\\"y\\\"\""),
            Challenge::Basic
        );
        let several = Challenge::choose(["Basic realm=\"x\"", "Bearer realm=\"https://a/t\""]);
        assert_eq!(several.unwrap(), bearer("https://a/t", None, None));
    }

    #[test]
    fn doubtful_challenges_are_refused() {
        let refused = |header| Challenge::choose([header]).unwrap_err();
        for header in [
            "=x",
            "realm=\"x\"",
            "Bearer realm=\"https://a",
            "Bearer realm=\"a\" service=\"b\"",
            "Bearer realm=\"a\\",
            "Bearer@x",
            "Bearer realm=\"a\u{7}\"",
        ] {
            assert!(matches!(refused(header), ChallengeError::Malformed { .. }), "{header}");
        }
        assert_eq!(refused("Bearer service=\"x\""), ChallengeError::NoRealm);
        assert_eq!(refused("Bearer realm=\"\""), ChallengeError::NoRealm);
        assert_eq!(refused("Bearer realm="), ChallengeError::NoRealm);
        assert!(matches!(
            refused("Bearer realm=\"https://a\",realm=\"https://evil\""),
            ChallengeError::Twice { .. }
        ));
        assert_eq!(
            refused("Digest realm=\"x\", Negotiate").to_string(),
            "it asks for Digest, Negotiate, and Basic and Bearer are known"
        );
        assert_eq!(
            Challenge::choose([]).unwrap_err().to_string(),
            "it asks for nothing, and Basic and Bearer are known"
        );
        assert!(matches!(refused(&"a".repeat(9000)), ChallengeError::TooLong { .. }));
    }
}
