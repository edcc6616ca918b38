//! What is asked of a restored server, and what pg_amcheck finds.

use serde::{Deserialize, Serialize};

use crate::instance::Instance;
use crate::physical_error::PhysicalError;
use crate::programs;
use crate::session::SessionError;

/// A question to the restored server.
///
/// ```
/// use db_backup::rehearse::{Check, Expect};
///
/// let check = Check {
///     name: "each order has its customer".to_owned(),
///     database: "shop".to_owned(),
///     sql: "SELECT count(*) FROM orders LEFT JOIN customers USING (customer) WHERE name IS NULL".to_owned(),
///     expect: Expect::Equals("0".to_owned()),
/// };
/// # let _ = check;
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What it is called in the verdict.
    pub name: String,
    /// The database that is asked.
    pub database: String,
    /// A query whose first row's first column is the answer.
    pub sql: String,
    /// What the answer must be.
    pub expect: Expect,
}

/// What an answer must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// This text, as the server prints it.
    Equals(String),
    /// A whole number that is at least this.
    AtLeast(i64),
}

/// A check with its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckResult {
    /// The check's name.
    pub name: String,
    /// Whether the answer is what it must be.
    pub holds: bool,
    /// The answer, or why there is none.
    pub answer: String,
}

impl Expect {
    fn is_met_by(&self, answer: &str) -> bool {
        match self {
            Expect::Equals(text) => text == answer,
            Expect::AtLeast(least) => answer.parse::<i64>().is_ok_and(|number| number >= *least),
        }
    }
}

pub(super) async fn ask(server: &Instance, check: &Check) -> CheckResult {
    let answered = async {
        let mut session = server.session(&check.database).await?;
        let answer = session.value(&check.sql).await?;
        session.close().await;
        Ok::<_, SessionError>(answer)
    };
    let name = check.name.clone();
    match answered.await {
        Ok(answer) => CheckResult { name, holds: check.expect.is_met_by(&answer), answer },
        Err(error) => CheckResult { name, holds: false, answer: error.to_string() },
    }
}

/// Has pg_amcheck look at every table and index of every database, and at whether each row is in its indexes.
pub(super) async fn amcheck(server: &Instance) -> Option<String> {
    let mut command = server.client("pg_amcheck");
    command.args(["--all", "--install-missing", "--heapallindexed", "--jobs", "2"]);
    match programs::run(command).await {
        Ok(_) => None,
        Err(PhysicalError::Program { said, .. }) => Some(format!("pg_amcheck: {said}")),
        Err(error) => Some(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_no_number_is_not_enough() {
        let check =
            |expect: Expect, answer: &str, met: bool| assert_eq!(expect.is_met_by(answer), met, "{answer}");
        check(Expect::AtLeast(3), "3", true);
        check(Expect::AtLeast(3), "2", false);
        check(Expect::AtLeast(3), "many", false);
        check(Expect::Equals("t".to_owned()), "t", true);
        check(Expect::Equals("t".to_owned()), "f", false);
    }
}
