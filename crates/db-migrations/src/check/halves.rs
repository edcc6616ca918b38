//! Checks the two halves of many migrations at once, each on a database of its own: a server session keeps
//! one core busy.
//!
//! The second half begins behind the first one, whose migrations are applied there without a look at them,
//! which takes a twentieth of the time. What belongs to the whole server, such as a role, cannot be made
//! twice: with it all of them are checked one after the other.

use crate::source::Migration;

use super::config::CheckConfig;
use super::error::CheckError;
use super::rehearse::Stage;
use super::report::{CheckReport, MigrationCheck, Outcome};
use super::run::check_on;
use super::server::{Databases, Scratch};

/// With fewer the second database is not worth its making.
const MANY: usize = 40;

/// How many of a hundred are in the first half: the second has more to do, since the schema has grown.
const FIRST: usize = 55;

/// Where the second half begins, if it is worth while.
pub(super) fn of(chosen: &[(&Migration, bool)], config: &CheckConfig) -> Option<usize> {
    let checked: Vec<usize> =
        chosen.iter().enumerate().filter(|(_, (_, checked))| *checked).map(|(place, _)| place).collect();
    let texts = chosen.iter().flat_map(|(migration, _)| [Some(&migration.up), migration.down.as_ref()]);
    let texts = texts.chain([config.before.as_ref(), config.seed.as_ref()]).flatten();
    if checked.len() < MANY || texts.into_iter().any(|sql| concerns_the_server(sql)) {
        return None;
    }
    checked.get(checked.len() * FIRST / 100).copied()
}

/// Checks both halves.
pub(super) async fn check<S: Databases>(
    server: &S,
    chosen: &[(&Migration, bool)],
    config: &CheckConfig,
    middle: usize,
    on_migration: &mut (dyn FnMut(&MigrationCheck) + Send),
    stop: impl Future<Output = ()> + Send,
) -> Result<CheckReport, CheckError> {
    let open = async || Stage::open(Scratch::open(server, config.statement_timeout).await?).await;
    let (mut first, mut second) = match tokio::join!(open(), open()) {
        (Ok(first), Ok(second)) => (first, second),
        (Ok(opened), Err(error)) | (Err(error), Ok(opened)) => {
            opened.close().await?;
            return Err(error);
        }
        (Err(error), Err(_)) => return Err(error),
    };
    let (front, back) = (0..middle, middle..chosen.len());
    let mut kept = Vec::new();
    let both = async {
        let mut keep = |check: &MigrationCheck| kept.push(check.clone());
        let (a, b) = tokio::join!(
            check_on(&mut first, chosen, config, 0, front, on_migration),
            check_on(&mut second, chosen, config, 0, back.clone(), &mut keep)
        );
        Ok((a?, b?))
    };
    let checked = tokio::select! {
        checked = both => checked,
        () = stop => Err(CheckError::Stopped),
    };
    let checked = match checked {
        // What it left half-way is not what the second half found.
        Ok((front, _)) if front.migrations.iter().any(|check| check.up == Outcome::Error) => {
            let mut rest = |check: &MigrationCheck| on_migration(check);
            check_on(&mut first, chosen, config, middle, back, &mut rest).await.map(|back| (front, back))
        }
        checked => {
            for check in &kept {
                on_migration(check);
            }
            checked
        }
    };
    let closed = tokio::join!(first.close(), second.close());
    let (mut report, back) = checked?;
    closed.0.and(closed.1)?;
    report.migrations.extend(back.migrations);
    report.missing_for_old_code = back.missing_for_old_code;
    Ok(report)
}

/// Whether a text makes, changes or drops what the databases of a server share.
fn concerns_the_server(sql: &str) -> bool {
    const VERBS: [&str; 6] = ["create", "alter", "drop", "reassign", "on", "grant"];
    const SHARED: [&str; 8] =
        ["role", "user", "group", "tablespace", "database", "subscription", "system", "owned"];
    let is_of_a_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    sql.split(';').any(|statement| {
        let words: Vec<String> = statement
            .split(|letter| !is_of_a_word(letter))
            .filter(|word| !word.is_empty())
            .map(str::to_ascii_lowercase)
            .collect();
        let shared = |pair: &[String]| match pair {
            [verb, word] => VERBS.contains(&verb.as_str()) && SHARED.contains(&word.as_str()),
            _ => false,
        };
        words.windows(2).any(shared) || grants_a_role(&words)
    })
}

/// Whether a statement makes a role a member of another, or takes it out: only privileges are granted ON
/// something.
fn grants_a_role(words: &[String]) -> bool {
    words.iter().enumerate().any(|(place, verb)| {
        let whom = match verb.as_str() {
            "grant" => "to",
            "revoke" => "from",
            _ => return false,
        };
        let behind = words.iter().skip(place + 1);
        behind.map(String::as_str).find(|word| *word == "on" || *word == whom) == Some(whom)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_databases_share_is_known_by_its_words() {
        for sql in
            ["CREATE ROLE a", "DO $$ BEGIN EXECUTE 'drop  user b'; END $$", "COMMENT ON DATABASE d IS ''"]
        {
            assert!(concerns_the_server(sql), "{sql}");
        }
        for sql in [
            "GRANT readers TO writers",
            "SELECT 1; grant a, b\n to c WITH ADMIN OPTION",
            "REVOKE ADMIN OPTION FOR readers FROM writers CASCADE",
            "DO $$ BEGIN EXECUTE format('GRANT %I TO %I', 'a', 'b'); END $$",
        ] {
            assert!(concerns_the_server(sql), "{sql}");
        }
        for sql in [
            "GRANT SELECT (a) ON t TO readers WITH GRANT OPTION; INSERT INTO t SELECT a FROM u",
            "REVOKE ALL ON ALL TABLES IN SCHEMA s FROM readers",
            "ALTER DEFAULT PRIVILEGES IN SCHEMA s GRANT SELECT ON TABLES TO readers",
        ] {
            assert!(!concerns_the_server(sql), "{sql}");
        }
        for sql in ["SELECT a FROM t GROUP BY a", "CREATE TABLE users ()", "ALTER SEQUENCE s OWNED BY t.a"] {
            assert!(!concerns_the_server(sql), "{sql}");
        }
    }
}
