//! The database of apk: lines of a letter, a colon and a value, with an empty line between packages.

use super::{DatabaseError, MAX_PACKAGES, Manager, Package};

/// Reads which packages are installed.
///
/// Source: apk-tools, `doc/apk-package.5`, and `src/database.c`, `apk_db_fdb_read`.
///
/// # Errors
///
/// Returns [`DatabaseError`] for what is no such database.
pub fn parse(bytes: &[u8]) -> Result<Vec<Package>, DatabaseError> {
    let mut packages = Vec::new();
    let mut fields = [const { None }; 3];
    let mut is_empty = true;
    // An empty line ends the last package, too.
    let lines = bytes.split(|byte| *byte == b'\n').chain([&b""[..]]);
    for (number, line) in (1..).zip(lines) {
        if line.is_empty() {
            let [name, version, architecture] = std::mem::take(&mut fields);
            if !std::mem::replace(&mut is_empty, true) {
                let missing = |field| DatabaseError::Missing { line: number, field };
                if packages.len() == MAX_PACKAGES {
                    return Err(DatabaseError::TooMany { limit: MAX_PACKAGES });
                }
                packages.push(Package {
                    manager: Manager::Apk,
                    name: name.ok_or_else(|| missing("P"))?,
                    version: version.ok_or_else(|| missing("V"))?,
                    architecture: architecture.unwrap_or_default(),
                });
            }
            continue;
        }
        let [letter, b':', value @ ..] = line else {
            return Err(DatabaseError::NoField { line: number });
        };
        is_empty = false;
        let field = match letter {
            b'P' => 0,
            b'V' => 1,
            b'A' => 2,
            _ => continue,
        };
        fields[field] = Some(String::from_utf8_lossy(value).into_owned());
    }
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_installed_is_read() {
        let text = "C:Q1p78yvTLG094tHE1+dToJGbmYzQE=\nP:musl\nV:1.2.5-r0\nA:x86_64\nS:407278\nF:lib\n\
            R:ld-musl-x86_64.so.1\na:0:0:755\nZ:Q1aaaa=\n\nP:busybox\nV:1.36.1-r29\nA:x86_64\n";
        let found: Vec<_> = parse(text.as_bytes())
            .unwrap()
            .into_iter()
            .map(|package| format!("{} {} {}", package.name, package.version, package.architecture))
            .collect();
        assert_eq!(found, ["musl 1.2.5-r0 x86_64", "busybox 1.36.1-r29 x86_64"]);
        assert_eq!(parse(b"\n\n").unwrap(), []);
    }

    #[test]
    fn what_is_no_database_is_refused() {
        for (text, expected) in [
            ("V:1\n\n", DatabaseError::Missing { line: 2, field: "P" }),
            ("P:a\n", DatabaseError::Missing { line: 2, field: "V" }),
            ("P:a\nV:1\nelse", DatabaseError::NoField { line: 3 }),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_err(), expected, "{text}");
        }
    }
}
