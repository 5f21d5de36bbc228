//! The database of dpkg: records of fields, with an empty line between them.

use super::{DatabaseError, MAX_PACKAGES, Manager, Package};

/// Reads which packages are installed.
///
/// A package of which only configuration files are left is not. Records without `Status` are of packages that are:
/// images without a shell have such.
///
/// Source: Debian policy, chapter 5; dpkg, `dpkg-query(1)`, "Package status".
///
/// # Errors
///
/// Returns [`DatabaseError`] for what is no such database.
pub fn parse(bytes: &[u8]) -> Result<Vec<Package>, DatabaseError> {
    let mut packages = Vec::new();
    let mut record = Record::default();
    let mut number = 0;
    for line in bytes.split(|byte| *byte == b'\n') {
        number += 1;
        if line.iter().all(u8::is_ascii_whitespace) {
            record.end(number, &mut packages)?;
            continue;
        }
        // The continuation of the field above.
        if matches!(line[0], b' ' | b'\t') {
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.ok_or(DatabaseError::NoField { line: number })?);
        record.is_empty = false;
        let value = || String::from_utf8_lossy(value[1..].trim_ascii()).into_owned();
        match name.to_ascii_lowercase().as_slice() {
            b"package" => record.name = Some(value()),
            b"version" => record.version = Some(value()),
            b"architecture" => record.architecture = value(),
            b"status" => record.status = Some(value()),
            _ => {}
        }
    }
    record.end(number, &mut packages)?;
    Ok(packages)
}

struct Record {
    is_empty: bool,
    name: Option<String>,
    version: Option<String>,
    architecture: String,
    status: Option<String>,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            is_empty: true,
            name: None,
            version: None,
            architecture: String::new(),
            status: None,
        }
    }
}

impl Record {
    fn end(&mut self, line: usize, packages: &mut Vec<Package>) -> Result<(), DatabaseError> {
        let Self { is_empty, name, version, architecture, status } = std::mem::take(self);
        if is_empty {
            return Ok(());
        }
        let name = name.ok_or(DatabaseError::Missing { line, field: "Package" })?;
        let state = status.as_ref().and_then(|status| status.split_ascii_whitespace().nth(2));
        if matches!(state, Some("not-installed" | "config-files")) {
            return Ok(());
        }
        let version = version.ok_or(DatabaseError::Missing { line, field: "Version" })?;
        if packages.len() == MAX_PACKAGES {
            return Err(DatabaseError::TooMany { limit: MAX_PACKAGES });
        }
        packages.push(Package { manager: Manager::Dpkg, name, architecture, version });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_installed_is_read() {
        let text = "Package: libc6\nStatus: install ok installed\nMulti-Arch: same\nArchitecture: amd64\n\
            Version: 2.36-9+deb12u10\nDescription: the C library\n It has\n .\n several lines: of it\n\n\n\
            Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
            Package: never\nStatus: unknown ok not-installed\n\n\
            PACKAGE:half\nStatus: install ok half-configured\nVersion:\t1:2-3 \n";
        let found: Vec<_> = parse(text.as_bytes())
            .unwrap()
            .into_iter()
            .map(|package| (package.name, package.architecture, package.version))
            .collect();
        let expected = [("libc6", "amd64", "2.36-9+deb12u10"), ("half", "", "1:2-3")];
        assert_eq!(found, expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())));
        assert_eq!(parse(b"Package: base-files\nVersion: 12\n").unwrap().len(), 1);
        assert_eq!(parse(b"").unwrap(), []);
    }

    #[test]
    fn what_is_no_database_is_refused() {
        for (text, expected) in [
            ("Version: 1\n\n", DatabaseError::Missing { line: 2, field: "Package" }),
            ("Package: a\n\nPackage: b", DatabaseError::Missing { line: 2, field: "Version" }),
            ("Package: a\nVersion: 1\n\nelse\n", DatabaseError::NoField { line: 4 }),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_err(), expected, "{text}");
        }
        let many = "Package: a\nVersion: 1\n\n".repeat(MAX_PACKAGES + 1);
        assert!(matches!(parse(many.as_bytes()), Err(DatabaseError::TooMany { .. })));
    }
}
