//! Every rule of a check by its name: what it finds, why that matters, and what to write instead.

use serde::Serialize;

use super::findings::Severity;

/// One rule of a check.
///
/// ```
/// use db_migrations::check::{Severity, rules};
/// let rule = rules().find(|rule| rule.name == "trace/drop-column").unwrap();
/// assert_eq!(rule.severity, Severity::Error);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Rule {
    /// Its name: `trace/…` is seen on the server, `lint/…` is read in the text.
    pub name: &'static str,
    /// How much a finding matters where nothing is known of the table's size.
    pub severity: Severity,
    /// Whether it matters less on a small table (`--stats`).
    pub by_size: bool,
    /// What it finds.
    pub finds: &'static str,
    /// Why that matters.
    pub why: &'static str,
    /// What to write instead.
    pub instead: &'static str,
    /// Names of the static layer for the same: a comment that accepts one of them accepts this.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub also: &'static [&'static str],
}

const fn rule(name: &'static str, severity: Severity, texts: [&'static str; 3]) -> Rule {
    let [finds, why, instead] = texts;
    Rule { name, severity, by_size: false, finds, why, instead, also: &[] }
}

const fn by_size(rule: Rule) -> Rule {
    Rule { by_size: true, ..rule }
}

const fn also(rule: Rule, also: &'static [&'static str]) -> Rule {
    Rule { also, ..rule }
}

use Severity::{Error, Note, Warning};

/// The rules in the order in which they are listed.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    SEEN.iter().chain(READ.iter())
}

/// A rule by its name, or by a name of the static layer for the same.
pub(crate) fn of(name: &str) -> Option<&'static Rule> {
    rules().find(|rule| rule.name == name).or_else(|| rules().find(|rule| rule.also.contains(&name)))
}

static SEEN: [Rule; 21] = [
    rule(
        "round-trip",
        Error,
        [
            "up, down and up again do not lead to the same schema, or there is no down.sql (a note)",
            "an undo in a bad night leaves the database in a state that nobody has seen",
            "let down.sql restore what is listed",
        ],
    ),
    by_size(rule(
        "trace/rewrite",
        Error,
        [
            "a table that was there is written anew",
            "readers and writers wait until every row is written",
            "add a new column, fill it in batches, and let the code change over (dbctl migrate expand type); or do it while \
         the service is down",
        ],
    )),
    by_size(rule(
        "trace/blocking-index-build",
        Error,
        [
            "an index is built while writers wait",
            "writers wait until every row is read and sorted",
            "use CREATE INDEX CONCURRENTLY; make a constraint from such an index with ADD CONSTRAINT … USING INDEX \
         (dbctl migrate expand unique)",
        ],
    )),
    by_size(rule(
        "trace/scan-under-lock",
        Error,
        [
            "every row of a table is read under a lock that stops writers or readers",
            "they wait until the last row is read",
            "add the constraint NOT VALID, and VALIDATE it in a migration of its own; set NOT NULL after such a check \
         (dbctl migrate expand not-null, foreign-key)",
        ],
    )),
    by_size(rule(
        "trace/work-under-lock",
        Error,
        [
            "rows are worked through while an earlier statement's lock on another table is held",
            "a lock that would be held for a blink is held for all of that work",
            "put the two into migrations of their own, or this one first",
        ],
    )),
    by_size(rule(
        "trace/whole-table-write",
        Error,
        [
            "one statement changes or deletes every row of a table that was there",
            "each row stays locked until COMMIT, the table doubles, and standbys fall behind",
            "fill it in batches beside the application: dbctl backfill",
        ],
    )),
    rule(
        "trace/several-tables",
        Warning,
        [
            "strong locks on several tables at once",
            "while it waits for the second, whoever uses the first waits, too; two such transactions can deadlock",
            "one table for each migration; add a column first and its foreign key NOT VALID later",
        ],
    ),
    also(
        rule(
            "trace/drop-table",
            Error,
            [
                "a table that was there is dropped",
                "its rows are lost, and the code that still runs fails",
                "deploy code that does not use it first; then say so: -- contract: WHY",
            ],
        ),
        &["lint/ban-drop-table"],
    ),
    rule(
        "trace/drop-view",
        Error,
        [
            "a view or a foreign table that was there is dropped and not made again",
            "the code that still runs fails",
            "deploy code that does not use it first; then say so: -- contract: WHY",
        ],
    ),
    also(
        rule(
            "trace/drop-column",
            Error,
            [
                "a column that was there is dropped",
                "its values are lost, and the code that still runs fails",
                "deploy code that does not use it first; then say so: -- contract: WHY",
            ],
        ),
        &["lint/ban-drop-column"],
    ),
    by_size(also(
        rule(
            "trace/truncate",
            Error,
            [
                "a table that was there is emptied",
                "its rows are lost",
                "delete in batches what nobody needs; or say why all of it may go: -- check-ignore trace/truncate: WHY",
            ],
        ),
        &["lint/ban-truncate-cascade"],
    )),
    also(
        rule(
            "trace/rename",
            Error,
            [
                "a table, view, column, schema, type or value of an enum that was there gets another name",
                "the code that still runs uses the old one and fails",
                "let both names work for a while (dbctl migrate expand rename), or add the new one and fill it",
            ],
        ),
        &["lint/renaming-column", "lint/renaming-table"],
    ),
    also(
        rule(
            "trace/required-column",
            Error,
            [
                "a new column must have a value, and the server gives none",
                "the code that still runs does not know the column: its inserts fail",
                "keep the DEFAULT until all code writes the column; drop it in a later release",
            ],
        ),
        &["lint/adding-required-field"],
    ),
    rule(
        "trace/drop-object",
        Error,
        [
            "a function, type, domain, sequence or schema is dropped and not made again",
            "the code that still runs fails",
            "deploy code that does not use it first; then say so: -- contract: WHY",
        ],
    ),
    rule(
        "trace/revoke",
        Error,
        [
            "rights on what was there are taken away",
            "the code that runs with them fails",
            "deploy code that does not need them first; then accept it in the file",
        ],
    ),
    rule(
        "trace/json-column",
        Error,
        [
            "a new column of a table that was there is json",
            "json has no equality: SELECT DISTINCT, GROUP BY and UNION over the table's columns fail",
            "use jsonb",
        ],
    ),
    rule(
        "trace/row-security",
        Error,
        [
            "row security is switched on for a table that was there",
            "every role but the owner sees no row that no policy lets through",
            "write the policies first, and look with SET ROLE at what the service's role sees; then accept it in the file",
        ],
    ),
    rule(
        "trace/trigger",
        Warning,
        [
            "a trigger on a table that was there",
            "it runs in every statement of the code that still runs, and its errors are theirs",
            "see what it costs under load, and let it raise nothing that old code does not expect",
        ],
    ),
    rule(
        "contract",
        Note,
        [
            "`-- contract: WHY` in a line of its own: what the file drops or renames is used by no code any more",
            "it accepts trace/drop-table, drop-view, drop-column, drop-object, rename and required-column for the whole \
         file",
            "",
        ],
    ),
    rule(
        "check-ignore",
        Warning,
        [
            "a comment accepts a rule that is not there",
            "a misspelt name accepts nothing",
            "dbctl migrate rules lists the names",
        ],
    ),
    rule(
        "failed",
        Error,
        [
            "the server refuses a statement of up.sql or down.sql",
            "it would refuse it in production",
            "see the message; what comes from outside the migrations, such as roles, is made by --before FILE",
        ],
    ),
];

const TOLD_BY_SERVER: &str = "only dbctl migrate lint says it: a check sees on the server what it costs";
const SEEN_BY_CHECK: &str = "only dbctl migrate lint says it: a check sees whether the table was there";

/// A rule of squawk's, whose page says more.
const fn squawk(name: &'static str, finds: &'static str, why: &'static str) -> Rule {
    rule(name, Warning, [finds, why, "see the finding, which says what to write instead"])
}

pub(super) static READ: [Rule; 22] = [
    squawk("lint/syntax", "the text is not understood", "the server may know better, or it is a mistake"),
    squawk("lint/require-concurrent-index-creation", "CREATE INDEX without CONCURRENTLY", TOLD_BY_SERVER),
    squawk("lint/constraint-missing-not-valid", "a constraint without NOT VALID", TOLD_BY_SERVER),
    squawk("lint/adding-field-with-default", "a column with a volatile default", TOLD_BY_SERVER),
    squawk("lint/adding-foreign-key-constraint", "a foreign key without NOT VALID", TOLD_BY_SERVER),
    squawk("lint/changing-column-type", "another type of a column", TOLD_BY_SERVER),
    squawk("lint/adding-not-nullable-field", "SET NOT NULL", TOLD_BY_SERVER),
    squawk("lint/adding-serial-primary-key-field", "a column that is serial and the key", TOLD_BY_SERVER),
    squawk("lint/disallowed-unique-constraint", "a unique constraint that builds its index", TOLD_BY_SERVER),
    squawk("lint/require-concurrent-reindex", "REINDEX without CONCURRENTLY", TOLD_BY_SERVER),
    squawk("lint/ban-alter-domain-with-add-constraint", "a constraint of a domain", TOLD_BY_SERVER),
    squawk(
        "lint/require-concurrent-index-deletion",
        "DROP INDEX without CONCURRENTLY",
        "it waits for all who use the table, and they for it",
    ),
    squawk(
        "lint/require-concurrent-partition-detach",
        "DETACH PARTITION without CONCURRENTLY",
        "it waits for all who use the table, and they for it",
    ),
    squawk("lint/renaming-column", "RENAME of a column", SEEN_BY_CHECK),
    squawk("lint/renaming-table", "RENAME of a table", SEEN_BY_CHECK),
    squawk("lint/ban-drop-column", "DROP COLUMN", SEEN_BY_CHECK),
    squawk("lint/ban-drop-table", "DROP TABLE", SEEN_BY_CHECK),
    squawk("lint/ban-drop-database", "DROP DATABASE", "everything in it is lost"),
    squawk("lint/adding-required-field", "a column that is NOT NULL and has no default", SEEN_BY_CHECK),
    squawk("lint/ban-truncate-cascade", "TRUNCATE … CASCADE", SEEN_BY_CHECK),
    squawk("lint/ban-duplicate-column-assignments", "one column is set twice", "the server refuses it"),
    squawk("lint/identifier-too-long", "a name of more than 63 bytes", "the server cuts it off"),
];
