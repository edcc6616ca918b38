//! Mends texts of `pg_stat_statements` that are no SQL: constants of some syntax may not be parameters.

/// The text with `interval $1` as `$1::interval` and `extract($1 from …)` as `date_part($1::text, …)`; none
/// if there is nothing to mend.
pub(super) fn rewritten(sql: &str) -> Option<String> {
    let mut text = sql.to_owned();
    for type_name in ["interval", "timestamptz", "timestamp", "date", "time"] {
        text = typed_constants(&text, type_name);
    }
    text = extracts(&text);
    (text != sql).then_some(text)
}

/// `interval $1` becomes `$1::interval`.
fn typed_constants(sql: &str, type_name: &str) -> String {
    let lower = sql.to_ascii_lowercase();
    let mut out = String::with_capacity(sql.len());
    let mut from = 0;
    for (at, found) in lower.match_indices(type_name) {
        let before = lower.get(..at).unwrap_or_default().chars().next_back();
        let behind = lower.get(at + found.len()..).unwrap_or_default();
        let parameter = behind.trim_start();
        let digits =
            parameter.strip_prefix('$').map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
        let stands_alone = !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '"' | ':' | '.'));
        if at < from || digits == 0 || !stands_alone || behind.len() == parameter.len() {
            continue;
        }
        let end = at + found.len() + (behind.len() - parameter.len()) + 1 + digits;
        out.push_str(sql.get(from..at).unwrap_or_default());
        out.push_str(parameter.get(..=digits).unwrap_or_default());
        out.push_str("::");
        out.push_str(type_name);
        from = end;
    }
    out.push_str(sql.get(from..).unwrap_or_default());
    out
}

/// `extract($1 from x)` becomes `date_part($1::text, x)`.
fn extracts(sql: &str) -> String {
    let lower = sql.to_ascii_lowercase();
    let mut out = String::with_capacity(sql.len());
    let mut from = 0;
    for (at, found) in lower.match_indices("extract(") {
        let behind = lower.get(at + found.len()..).unwrap_or_default();
        let parameter = behind.trim_start();
        let digits =
            parameter.strip_prefix('$').map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
        let rest = parameter.get(1 + digits..).unwrap_or_default();
        let word = rest.trim_start();
        if at < from || digits == 0 || !word.starts_with("from ") {
            continue;
        }
        let skipped = found.len() + (behind.len() - parameter.len()) + 1 + digits + (rest.len() - word.len());
        out.push_str(sql.get(from..at).unwrap_or_default());
        out.push_str(&format!("date_part({}::text, ", parameter.get(..=digits).unwrap_or_default()));
        from = at + skipped + "from ".len();
    }
    out.push_str(sql.get(from..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::rewritten;

    #[test]
    fn constants_that_may_not_be_parameters_are_casts() {
        let check = |from: &str, to: &str| assert_eq!(rewritten(from).as_deref().unwrap_or(from), to);
        check("SELECT now() - interval $1 FROM a", "SELECT now() - $1::interval FROM a");
        check("SELECT extract($1 FROM at) = $2", "SELECT date_part($1::text, at) = $2");
        check("SELECT a.date $1", "SELECT a.date $1");
        check("SELECT x::interval, $1", "SELECT x::interval, $1");
    }
}
