//! PostgreSQL's keywords, in 15 to 19: which words are no names unless they are quoted.

/// Whether a name keeps its quotes in the normal form: without them it would mean something else.
///
/// Unreserved keywords, such as `name`, are names in most places and lose them; `year` and a few others do
/// not, because `interval '1' year` and `interval '1' "year"` differ.
pub(crate) fn needs_quotes(name: &[u8]) -> bool {
    contains(&DISTINCT, name)
}

/// Whether a word, in lower case, is reserved, names a type or is a function with a grammar of its own.
pub(crate) fn is_reserved(word: &[u8]) -> bool {
    contains(&DISTINCT, word) && UNRESERVED.binary_search(&word_of(word)).is_err()
}

/// Whether a word, in lower case and without quotes, can be the name of a table.
pub(crate) fn is_table_name(word: &[u8]) -> bool {
    NO_TABLES.binary_search(&word_of(word)).is_err()
}

/// Whether a word, in lower case, is a keyword at all.
pub(crate) fn is_keyword(word: &[u8]) -> bool {
    contains(&DISTINCT, word) || UNRESERVED.binary_search(&word_of(word)).is_ok()
}

fn word_of(word: &[u8]) -> &str {
    std::str::from_utf8(word).unwrap_or_default()
}

fn contains(table: &[u16; SLOTS], word: &[u8]) -> bool {
    let mut slot = slot(word);
    loop {
        match table.get(slot) {
            None | Some(0) => return false,
            Some(index) if QUOTED.get(*index as usize - 1).is_some_and(|one| one.as_bytes() == word) => {
                return true;
            }
            Some(_) => slot = (slot + 1) % SLOTS,
        }
    }
}

const SLOTS: usize = 1024;

/// Where to look first: by the length, the first, the second and the last byte.
const fn slot(word: &[u8]) -> usize {
    if word.len() < 2 {
        return 0;
    }
    let ends = (word[0] as usize) * 7 + (word[1] as usize) * 61 + (word[word.len() - 1] as usize) * 13;
    (ends + word.len() * 97) % SLOTS
}

/// `QUOTED` as a hash table, because the hot path asks for every quoted name.
static DISTINCT: [u16; SLOTS] = {
    let mut table = [0; SLOTS];
    let mut index = 0;
    while index < QUOTED.len() {
        let mut slot = slot(QUOTED[index].as_bytes());
        while table[slot] != 0 {
            slot = (slot + 1) % SLOTS;
        }
        index += 1;
        table[slot] = index as u16;
    }
    table
};

/// Reserved words, names of types and functions with a grammar of their own, and unreserved ones that their
/// place gives a meaning.
#[rustfmt::skip]
const QUOTED: &[&str] = &[
    "all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "authorization",
    "between", "bigint", "binary", "bit", "boolean", "both", "by", "case", "cast", "char", "character",
    "check", "coalesce", "collate", "collation", "column", "concurrently", "constraint", "create",
    "cross", "cube", "current_catalog", "current_date", "current_role", "current_schema", "current_time",
    "current_timestamp", "current_user", "day", "dec", "decimal", "default", "deferrable", "delete",
    "desc", "distinct", "do", "else", "end", "escape", "except", "exists", "extract", "false", "fetch",
    "filter", "float", "for", "foreign", "freeze", "from", "full", "grant", "greatest", "group",
    "grouping", "having", "hour", "ilike", "in", "initially", "inner", "inout", "insert", "int",
    "integer", "intersect", "interval", "into", "is", "isnull", "join", "json", "json_array",
    "json_arrayagg", "json_exists", "json_object", "json_objectagg", "json_query", "json_scalar",
    "json_serialize", "json_table", "json_value", "lateral", "leading", "least", "left", "like", "limit",
    "localtime", "localtimestamp", "materialized", "merge", "merge_action", "minute", "month", "national",
    "natural", "nchar", "none", "normalize", "not", "notnull", "null", "nullif", "numeric", "offset",
    "on", "only", "or", "order", "out", "outer", "over", "overlaps", "overlay", "placing", "position",
    "precision", "primary", "real", "references", "returning", "right", "rollup", "row", "second",
    "select", "session_user", "setof", "sets", "similar", "smallint", "some", "substring", "symmetric",
    "system_user", "table", "tablesample", "then", "time", "timestamp", "to", "trailing", "treat", "trim",
    "true", "uescape", "union", "unique", "update", "user", "using", "values", "varchar", "variadic",
    "varying", "verbose", "when", "where", "window", "with", "within", "xmlattributes", "xmlconcat",
    "xmlelement", "xmlexists", "xmlforest", "xmlnamespaces", "xmlparse", "xmlpi", "xmlroot",
    "xmlserialize", "xmltable", "year",
];

#[rustfmt::skip]
const UNRESERVED: &[&str] = &[
    "abort", "absent", "absolute", "access", "action", "add", "admin", "after", "aggregate", "also",
    "alter", "always", "asensitive", "assertion", "assignment", "at", "atomic", "attach", "attribute",
    "backward", "before", "begin", "breadth", "by", "cache", "call", "called", "cascade", "cascaded",
    "catalog", "chain", "characteristics", "checkpoint", "class", "close", "cluster", "columns",
    "comment", "comments", "commit", "committed", "compression", "conditional", "configuration",
    "conflict", "connection", "constraints", "content", "continue", "conversion", "copy", "cost", "csv",
    "cube", "current", "cursor", "cycle", "data", "database", "day", "deallocate", "declare", "defaults",
    "deferred", "definer", "delete", "delimiter", "delimiters", "depends", "depth", "detach",
    "dictionary", "disable", "discard", "document", "domain", "double", "drop", "each", "empty", "enable",
    "encoding", "encrypted", "enforced", "enum", "error", "escape", "event", "exclude", "excluding",
    "exclusive", "execute", "explain", "expression", "extension", "external", "family", "filter",
    "finalize", "first", "following", "force", "format", "forward", "function", "functions", "generated",
    "global", "granted", "groups", "handler", "header", "hold", "hour", "identity", "if", "ignore",
    "immediate", "immutable", "implicit", "import", "include", "including", "increment", "indent",
    "index", "indexes", "inherit", "inherits", "inline", "input", "insensitive", "insert", "instead",
    "invoker", "isolation", "keep", "key", "keys", "label", "language", "large", "last", "leakproof",
    "level", "listen", "load", "local", "location", "lock", "locked", "logged", "lsn", "mapping", "match",
    "matched", "materialized", "maxvalue", "merge", "method", "minute", "minvalue", "mode", "month",
    "move", "name", "names", "nested", "new", "next", "nfc", "nfd", "nfkc", "nfkd", "no", "normalized",
    "nothing", "notify", "nowait", "nulls", "object", "objects", "of", "off", "oids", "old", "omit",
    "operator", "option", "options", "ordinality", "others", "over", "overriding", "owned", "owner",
    "parallel", "parameter", "parser", "partial", "partition", "passing", "password", "path", "period",
    "plan", "plans", "policy", "preceding", "prepare", "prepared", "preserve", "prior", "privileges",
    "procedural", "procedure", "procedures", "program", "publication", "quote", "quotes", "range", "read",
    "reassign", "recheck", "recursive", "ref", "referencing", "refresh", "reindex", "relative", "release",
    "rename", "repack", "repeatable", "replace", "replica", "reset", "respect", "restart", "restrict",
    "return", "returns", "revoke", "role", "rollback", "rollup", "routine", "routines", "rows", "rule",
    "savepoint", "scalar", "schema", "schemas", "scroll", "search", "second", "security", "sequence",
    "sequences", "serializable", "server", "session", "set", "sets", "share", "show", "simple", "skip",
    "snapshot", "source", "sql", "stable", "standalone", "start", "statement", "statistics", "stdin",
    "stdout", "storage", "stored", "strict", "string", "strip", "subscription", "support", "sysid",
    "system", "tables", "tablespace", "target", "temp", "template", "temporary", "text", "ties",
    "transaction", "transform", "trigger", "truncate", "trusted", "type", "types", "uescape", "unbounded",
    "uncommitted", "unconditional", "unencrypted", "unknown", "unlisten", "unlogged", "until", "update",
    "vacuum", "valid", "validate", "validator", "value", "varying", "version", "view", "views", "virtual",
    "volatile", "wait", "whitespace", "within", "without", "work", "wrapper", "write", "xml", "year",
    "yes", "zone",
];

/// Reserved words, and those that can be names of functions and types only.
#[rustfmt::skip]
const NO_TABLES: &[&str] = &[
    "all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "authorization",
    "binary", "both", "case", "cast", "check", "collate", "collation", "column", "concurrently",
    "constraint", "create", "cross", "current_catalog", "current_date", "current_role", "current_schema",
    "current_time", "current_timestamp", "current_user", "default", "deferrable", "desc", "distinct",
    "do", "else", "end", "except", "false", "fetch", "for", "foreign", "freeze", "from", "full", "grant",
    "group", "having", "ilike", "in", "initially", "inner", "intersect", "into", "is", "isnull", "join",
    "lateral", "leading", "left", "like", "limit", "localtime", "localtimestamp", "natural", "not",
    "notnull", "null", "offset", "on", "only", "or", "order", "outer", "overlaps", "placing", "primary",
    "references", "returning", "right", "select", "session_user", "similar", "some", "symmetric",
    "system_user", "table", "tablesample", "then", "to", "trailing", "true", "union", "unique", "user",
    "using", "variadic", "verbose", "when", "where", "window", "with",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_keyword_is_found_and_names_are_not() {
        for word in QUOTED {
            assert!(needs_quotes(word.as_bytes()) && is_keyword(word.as_bytes()), "{word}");
        }
        assert!(UNRESERVED.is_sorted() && NO_TABLES.is_sorted());
        assert!(is_table_name(b"values") && !is_table_name(b"where") && !is_table_name(b"left"));
        for word in ["name", "users", "id", "a", "", "selects", "type"] {
            assert!(!needs_quotes(word.as_bytes()), "{word}");
        }
        assert!(
            is_keyword(b"name") && is_reserved(b"select") && !is_reserved(b"by") && !is_keyword(b"users")
        );
    }
}
