//! The functions that a service declares to leave nothing behind in a session.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use db_core::Endpoint;

/// So many functions are named in the log; a service with more of them has seen what the matter is.
const MOST_NAMED: usize = 50;

/// The functions of a service's own that leave nothing behind in a session, so that a statement which calls
/// one costs no reset ([`Reset::WhenSeen`](crate::Reset::WhenSeen)).
///
/// Each is a name as `pg_proc` has it: `total_of` is one in whatever schema, `billing.total_of` is one that
/// is called by this name; `billing.*` and `st_*` are all whose names begin like that, PostgreSQL's own
/// excepted. A function of PostgreSQL's own must be named in full, as `nextval` by services that ask for no
/// `currval` or `lastval`.
///
/// ```
/// use db_pool::{HarmlessFunctions, PoolConfig};
///
/// let harmless: HarmlessFunctions = "total_of, billing.*, st_*".parse()?;
/// let config = PoolConfig { harmless, ..PoolConfig::default() };
/// # let _ = config;
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HarmlessFunctions {
    patterns: Arc<[Box<str>]>,
}

impl HarmlessFunctions {
    /// These and the others.
    #[must_use]
    pub fn and(&self, others: &HarmlessFunctions) -> Self {
        HarmlessFunctions { patterns: self.patterns.iter().chain(others.patterns.iter()).cloned().collect() }
    }

    /// Whether a function is declared that is called by `name` in `schema`; `ours` is whether it is none of
    /// PostgreSQL's.
    pub(crate) fn declares(&self, schema: Option<&str>, name: &str, ours: bool) -> bool {
        self.patterns.iter().any(|pattern| match pattern.split_once('.') {
            Some((within, pattern)) => schema == Some(within) && fits(pattern, name, ours),
            None => fits(pattern, name, ours),
        })
    }
}

fn fits(pattern: &str, name: &str, ours: bool) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => ours && name.starts_with(beginning),
        None => name == pattern,
    }
}

impl FromStr for HarmlessFunctions {
    type Err = String;

    /// Reads names that are separated by commas.
    fn from_str(text: &str) -> Result<Self, String> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let patterns = names.map(|name| {
            let parts: Vec<&str> = name.split('.').collect();
            let is_name = |part: &str| {
                !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || "()\"'*;".contains(c))
            };
            let last = parts.last().copied().unwrap_or_default();
            let ends = last.strip_suffix('*').unwrap_or(last);
            let is_last = is_name(ends) || (ends.is_empty() && last == "*");
            if is_last && parts.len() <= 2 && parts.iter().rev().skip(1).all(|part| is_name(part)) {
                Ok(Box::from(name))
            } else {
                Err(format!(
                    "`{name}` is no function's name: write it as pg_proc has it, without parentheses and quotes, as \
                     total_of, billing.total_of, billing.* or st_*"
                ))
            }
        });
        Ok(HarmlessFunctions { patterns: patterns.collect::<Result<_, String>>()? })
    }
}

/// The functions that a pool has named in the log because it resets sessions after them.
#[derive(Default)]
pub(crate) struct Named(Mutex<BTreeSet<Box<str>>>);

impl Named {
    /// Says once of each function why sessions are reset.
    pub(crate) fn say(&self, endpoint: &Endpoint, function: &str) {
        let mut named = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if named.len() < MOST_NAMED && named.insert(function.into()) {
            tracing::info!(
                %endpoint, function,
                "a session is reset whenever {function} was called, because it may leave something behind: where it does not, \
                 name it in DB_POOL_HARMLESS_FUNCTIONS"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_declared_is_what_was_named() {
        let harmless: HarmlessFunctions = " total_of,billing.sum_up, geo.*,st_*, nextval ,".parse().unwrap();
        let check = |schema, name, ours, declared| {
            assert_eq!(harmless.declares(schema, name, ours), declared, "{schema:?} {name}");
        };
        check(None, "total_of", true, true);
        check(Some("shop"), "total_of", true, true);
        check(None, "sum_up", true, false);
        check(Some("billing"), "sum_up", true, true);
        check(Some("geo"), "anything", true, true);
        check(None, "st_within", true, true);
        check(None, "Total_Of", true, false);
        check(None, "nextval", false, true);
        let all: HarmlessFunctions = "*".parse().unwrap();
        assert!(all.declares(Some("x"), "y", true) && !all.declares(None, "setseed", false));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for wrong in ["f()", "a.b.c", "\"F\"", "a.", ".b", "a*.b", "a*b", "select 1"] {
            let error = wrong.parse::<HarmlessFunctions>().unwrap_err();
            assert!(error.contains("write it as pg_proc has it"), "{wrong}: {error}");
        }
    }
}
