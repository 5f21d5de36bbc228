//! The SQLite database of rpm: `rpmdb.sqlite`, whose table `Packages` has a header in each row.
//!
//! SQLite itself reads it, as it advises for databases of strangers (<https://www.sqlite.org/security.html>): nothing in
//! the schema is trusted, what is read has to be plain columns of a plain table, and values have a limit. It works on a copy,
//! since what `rpmdb.sqlite-wal` has is taken over by writing.
//!
//! Source: rpm, `lib/backend/sqlite.cc`.

use std::fmt::Display;
use std::fs;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

use super::{Collected, DatabaseError, Package};

/// Reads which packages are installed; `log` is what the file beside it has, whose name ends with `-wal`.
///
/// # Errors
///
/// Returns [`DatabaseError`] for what is no such database, and where it cannot be copied.
pub(crate) fn parse(database: &[u8], log: &[u8]) -> Result<Vec<Package>, DatabaseError> {
    let directory = tempfile::tempdir().map_err(unreadable)?;
    let file = directory.path().join("rpmdb.sqlite");
    fs::write(&file, database).map_err(unreadable)?;
    if !log.is_empty() {
        fs::write(directory.path().join("rpmdb.sqlite-wal"), log).map_err(unreadable)?;
    }
    let connection = open(&file).map_err(unreadable)?;
    let columns: i64 = connection.query_row(COLUMNS, [], |row| row.get(0)).map_err(unreadable)?;
    if columns != 2 {
        return Err(DatabaseError::NoTable);
    }
    read(&connection)
}

fn open(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    for refused in [
        DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA,
        DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER,
        DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW,
    ] {
        connection.set_db_config(refused, false)?;
    }
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_HEADER_BYTES)?;
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "mmap_size", 0)?;
    Ok(connection)
}

fn read(connection: &Connection) -> Result<Vec<Package>, DatabaseError> {
    let mut packages = Collected::default();
    let mut statement = connection.prepare(ROWS).map_err(unreadable)?;
    let mut rows = statement.query([]).map_err(unreadable)?;
    while let Some(row) = rows.next().map_err(unreadable)? {
        let number = row.get(0).map_err(unreadable)?;
        let header = row.get_ref(1).map_err(unreadable)?.as_blob().map_err(unreadable)?;
        packages.add(number, header)?;
    }
    Ok(packages.0)
}

fn unreadable(error: impl Display) -> DatabaseError {
    DatabaseError::Sqlite { reason: error.to_string() }
}

/// How many of the two columns there are that have nothing to be computed, in a table that is no view and no virtual one.
const COLUMNS: &str = "SELECT count(*) FROM pragma_table_list AS list, pragma_table_xinfo('Packages', 'main') AS info \
    WHERE list.schema = 'main' AND list.name = 'Packages' AND list.type = 'table' \
    AND info.name IN ('hnum', 'blob') AND info.hidden = 0";

const ROWS: &str = "SELECT hnum, blob FROM main.Packages NOT INDEXED";

/// The longest header: that of a package with a hundred thousand files has 12 MiB.
const MAX_HEADER_BYTES: i32 = 32 << 20;

#[cfg(test)]
mod tests {
    use super::super::header::tests::{HELLO, header};
    use super::*;

    /// Returns a database after `schema`, with `headers` in its table.
    fn database(schema: &str, headers: &[Vec<u8>]) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("db");
        let connection = Connection::open(&file).unwrap();
        connection.execute_batch(schema).unwrap();
        for header in headers {
            connection.execute("INSERT INTO Packages (blob) VALUES (?1)", [header]).unwrap();
        }
        connection.close().unwrap();
        fs::read(file).unwrap()
    }

    const SCHEMA: &str =
        "CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)";

    #[test]
    fn packages_are_read() {
        let hello = header(&HELLO);
        let found = parse(&database(SCHEMA, &[hello.clone(), hello]), &[]).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].version, "4:1.2~rc1-3.el9");
        assert_eq!(parse(&database(SCHEMA, &[]), &[]).unwrap(), []);
    }

    #[test]
    fn what_is_in_the_log_only_is_read_as_well() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("db");
        let connection = Connection::open(&file).unwrap();
        connection.pragma_update(None, "journal_mode", "wal").unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        let header = header(&HELLO);
        connection.execute("INSERT INTO Packages (blob) VALUES (?1)", [&header]).unwrap();
        // As whoever is killed leaves it.
        let [database, log] = ["db", "db-wal"].map(|name| fs::read(directory.path().join(name)));
        let (database, log) = (database.unwrap(), log.unwrap());
        assert_eq!(parse(&database, &[]).unwrap().len(), 0);
        assert_eq!(parse(&database, &log).unwrap().len(), 1);
        // What was not written to its end never was.
        assert_eq!(parse(&database, &log[..log.len() - 1]).unwrap().len(), 0);
    }

    #[test]
    fn what_would_run_is_not_read() {
        for schema in [
            "CREATE VIEW Packages AS SELECT 1 AS hnum, x'00' AS blob",
            "CREATE VIRTUAL TABLE Packages USING rtree(hnum, blob, other)",
            "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB AS (zeroblob(9999)))",
            "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY)",
            "CREATE TABLE Others (hnum INTEGER PRIMARY KEY, blob BLOB)",
        ] {
            let found = parse(&database(schema, &[]), &[]);
            assert_eq!(found, Err(DatabaseError::NoTable), "{schema}");
        }
        assert_eq!(parse(&[], &[]), Err(DatabaseError::NoTable));
    }

    #[test]
    fn what_is_no_database_is_refused() {
        let mut long = header(&HELLO);
        long.resize(20_000, 0);
        let whole = database(SCHEMA, &[header(&HELLO), long]);
        let error = parse(&whole, &[]).unwrap_err();
        assert!(matches!(error, DatabaseError::RpmHeader { number: 2, .. }), "{error}");
        for cut in [1, 100, 5000] {
            let error = parse(&whole[..whole.len() - cut], &[]).unwrap_err();
            assert!(matches!(error, DatabaseError::Sqlite { .. }), "{cut}: {error}");
        }
        let noise = parse(&[0x5e; 8192], &[]).unwrap_err();
        assert_eq!(noise.to_string(), "SQLite cannot read it: file is not a database");
        let text = "CREATE TABLE Packages (hnum, blob); INSERT INTO Packages VALUES (-1, 'text')";
        assert!(matches!(parse(&database(text, &[]), &[]), Err(DatabaseError::Sqlite { .. })));
    }
}
