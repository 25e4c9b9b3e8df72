//! SQL statements that fence the rows of a database, as text for any driver.
//!
//! One row per lock holds the greatest token seen. The invariant: [`raise`](SqlFence::raise) and
//! the writes it protects are in *one* transaction, so a stale token rolls all of it back.

use std::fmt::Write as _;

/// Syntax of parameter placeholders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Placeholders {
    /// `?1`, `?2`: SQLite.
    #[default]
    Numbered,
    /// `$1`, `$2`: PostgreSQL.
    Dollar,
}

/// An invalid table name. Valid are letters, digits and underscores, not beginning with a digit,
/// with an optional schema and dot in front.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of a table: use letters, digits, `_`, and one `.` after a schema")]
pub struct InvalidTableName(String);

/// The statements for one table of tokens, for SQLite (3.24 and later) and PostgreSQL (9.5 and
/// later).
///
/// ```
/// use tenure::fence::{Placeholders, SqlFence};
///
/// let fence = SqlFence::new("fence", Placeholders::Dollar)?;
/// // Once:             fence.create_table()
/// // In a transaction: fence.raise() with the lock's name and the token; roll back unless it
/// //                   changed one row; then the writes; commit.
/// assert!(fence.raise().contains("$2"));
/// # Ok::<(), tenure::fence::InvalidTableName>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlFence {
    table: String,
    placeholders: Placeholders,
}

impl SqlFence {
    /// Statements on `table`.
    ///
    /// # Errors
    /// When `table` is not a valid table name. It becomes part of the statements, so it is checked.
    pub fn new(
        table: impl Into<String>,
        placeholders: Placeholders,
    ) -> Result<Self, InvalidTableName> {
        let table = table.into();
        let is_name = |part: &str| {
            let mut bytes = part.bytes();
            let first = bytes.next();
            first.is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
                && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        let parts: Vec<_> = table.split('.').collect();
        if parts.len() <= 2 && parts.iter().all(|part| is_name(part)) {
            Ok(Self {
                table,
                placeholders,
            })
        } else {
            Err(InvalidTableName(table))
        }
    }

    /// Creates the table unless it exists. No parameters.
    #[must_use]
    pub fn create_table(&self) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (name TEXT PRIMARY KEY, token BIGINT NOT NULL)",
            self.table
        )
    }

    /// Raises the mark of a lock to a token. Parameters: the lock's name, the token.
    ///
    /// It changes exactly one row when the token is not stale, and none when it is: then roll
    /// back. The row stays locked until the transaction ends, so a greater token waits for it.
    #[must_use]
    pub fn raise(&self) -> String {
        let (table, name, token) = (self.bare(), self.place(1), self.place(2));
        format!(
            "INSERT INTO {} (name, token) VALUES ({name}, {token}) \
             ON CONFLICT (name) DO UPDATE SET token = excluded.token \
             WHERE {table}.token <= excluded.token",
            self.table
        )
    }

    /// The greatest token seen. Parameter: the lock's name.
    #[must_use]
    pub fn current(&self) -> String {
        format!(
            "SELECT token FROM {} WHERE name = {}",
            self.table,
            self.place(1)
        )
    }

    /// A condition for the `WHERE` of a single statement that is not in a transaction with
    /// [`raise`](Self::raise): true unless a greater token was seen. Parameters: the lock's name,
    /// the token, numbered from `first`.
    ///
    /// It refuses stale writers only after the successor has *raised*; unlike a transaction it does
    /// not make a successor wait. So raise first after every grant.
    #[must_use]
    pub fn unless_stale(&self, first: usize) -> String {
        let mut text = String::from("NOT EXISTS (SELECT 1 FROM ");
        let (name, token) = (self.place(first), self.place(first + 1));
        // Writing to a string does not fail.
        _ = write!(
            text,
            "{} WHERE name = {name} AND token > {token})",
            self.table
        );
        text
    }

    /// The table name without its schema, as an upsert refers to it.
    fn bare(&self) -> &str {
        self.table.rsplit('.').next().unwrap_or(&self.table)
    }

    fn place(&self, number: usize) -> String {
        match self.placeholders {
            Placeholders::Numbered => format!("?{number}"),
            Placeholders::Dollar => format!("${number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_become_part_of_a_statement() {
        for good in ["fence", "ops.fence", "_f1"] {
            assert!(
                SqlFence::new(good, Placeholders::Numbered).is_ok(),
                "{good}"
            );
        }
        for bad in [
            "",
            "a b",
            "1a",
            "a.b.c",
            "a.",
            "fence; DROP TABLE x",
            "ä",
            "\"a\"",
        ] {
            let error = SqlFence::new(bad, Placeholders::Numbered).unwrap_err();
            assert!(error.to_string().contains(&format!("{bad:?}")), "{error}");
        }
    }

    #[test]
    fn statements_number_their_parameters_as_the_driver_does() {
        let postgres = SqlFence::new("ops.fence", Placeholders::Dollar).unwrap();
        assert_eq!(
            postgres.raise(),
            "INSERT INTO ops.fence (name, token) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE \
             SET token = excluded.token WHERE fence.token <= excluded.token"
        );
        assert_eq!(
            postgres.unless_stale(4),
            "NOT EXISTS (SELECT 1 FROM ops.fence WHERE name = $4 AND token > $5)"
        );
        let sqlite = SqlFence::new("fence", Placeholders::Numbered).unwrap();
        assert_eq!(sqlite.current(), "SELECT token FROM fence WHERE name = ?1");
    }
}

#[cfg(feature = "fence-sqlite")]
#[cfg(test)]
mod sqlite {
    use rusqlite::{Connection, Transaction, params};

    use super::*;

    fn write(sql: &Transaction<'_>, token: i64, value: &str) -> bool {
        let fence = SqlFence::new("fence", Placeholders::Numbered).unwrap();
        if sql
            .execute(&fence.raise(), params!["jobs/42", token])
            .unwrap()
            != 1
        {
            return false;
        }
        sql.execute("UPDATE jobs SET result = ?1", params![value])
            .unwrap();
        true
    }

    fn database() -> (Connection, SqlFence) {
        let database = Connection::open_in_memory().unwrap();
        let fence = SqlFence::new("fence", Placeholders::Numbered).unwrap();
        database.execute(&fence.create_table(), []).unwrap();
        database.execute(&fence.create_table(), []).unwrap();
        database
            .execute("CREATE TABLE jobs (result TEXT)", [])
            .unwrap();
        database
            .execute("INSERT INTO jobs VALUES ('none')", [])
            .unwrap();
        (database, fence)
    }

    fn result(database: &Connection) -> String {
        let query = "SELECT result FROM jobs";
        database.query_row(query, [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_stale_transaction_changes_nothing() {
        let (mut database, fence) = database();
        for (token, admitted) in [(5, true), (5, true), (9, true), (5, false)] {
            let sql = database.transaction().unwrap();
            assert_eq!(write(&sql, token, &token.to_string()), admitted, "{token}");
            if admitted {
                sql.commit().unwrap();
            }
        }
        assert_eq!(result(&database), "9");
        let current = database.query_row(&fence.current(), params!["jobs/42"], |row| row.get(0));
        assert_eq!(current, Ok(9_i64));
    }

    #[test]
    fn a_single_statement_is_kept_out_by_a_greater_token() {
        let (database, fence) = database();
        let update = format!(
            "UPDATE jobs SET result = ?1 WHERE {}",
            fence.unless_stale(2)
        );
        let run = |token: i64| {
            let value = token.to_string();
            database
                .execute(&update, params![value, "jobs/42", token])
                .unwrap()
        };
        assert_eq!(run(5), 1);
        database
            .execute(&fence.raise(), params!["jobs/42", 9])
            .unwrap();
        assert_eq!(run(5), 0);
        assert_eq!(run(9), 1);
        assert_eq!(result(&database), "9");
    }
}
