//! Finds names that are not read and look like a misspelt name of ours.
//!
//! The optimal string alignment distance (Damerau and Levenshtein's, each letter moved at most once) to each
//! name that is read. A name that starts like ours may be further off than another, which belongs to somebody
//! else more likely.

use super::Group;

/// The names that are not read and look like one that is, each with the one that it looks like.
///
/// ```
/// use db_core::settings::{DatabaseUrls, FromSettings, typos};
///
/// let found = typos(["DATABSE_URL", "DATABASE_URL", "PATH"], DatabaseUrls::GROUPS);
/// assert_eq!(found, [("DATABSE_URL", "DATABASE_URL")]);
/// ```
pub fn typos<'n>(
    names: impl IntoIterator<Item = &'n str>,
    groups: &[&Group],
) -> Vec<(&'n str, &'static str)> {
    let known: Vec<&'static str> = groups.iter().flat_map(|group| group.names()).collect();
    let foreign = |name: &str| groups.iter().any(|group| group.elsewhere.iter().any(|one| one.name == name));
    let unknown = names.into_iter().filter(|name| !known.contains(name) && !foreign(name));
    unknown.filter_map(|name| Some((name, nearest(name, &known)?))).collect()
}

/// The name that `name` looks like.
fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    // Far longer ones cannot be near, and would take long to compare.
    if name.len() > 64 || !name.is_ascii() {
        return None;
    }
    let upper = name.to_ascii_uppercase();
    let letters = letters(&upper);
    let near = known.iter().filter_map(|meant| {
        let allowed = allowed(&upper, meant);
        // Nearly all are: without this a program spends more on it than on all else that it does to start.
        if allowed == 0 || are_far(letters, meant, allowed) {
            return None;
        }
        let distance = if same_words(&upper, meant) { 1 } else { distance(&upper, meant) };
        (distance <= allowed).then_some((distance, *meant))
    });
    near.min_by_key(|(distance, _)| *distance).map(|(_, meant)| meant)
}

/// How often each letter of ASCII is in a name.
fn letters(name: &str) -> [i8; 128] {
    let mut counts = [0_i8; 128];
    for letter in name.bytes() {
        if let Some(count) = counts.get_mut(usize::from(letter)) {
            *count = count.saturating_add(1);
        }
    }
    counts
}

/// Whether two names have so different letters that no so many steps lead from one to the other: each step
/// puts one in, leaves one out, or does both.
fn are_far(mut counts: [i8; 128], meant: &str, steps: usize) -> bool {
    for letter in meant.bytes() {
        if let Some(count) = counts.get_mut(usize::from(letter)) {
            *count = count.saturating_sub(1);
        }
    }
    let differ: usize = counts.iter().map(|count| usize::from(count.unsigned_abs())).sum();
    differ > steps.saturating_mul(2)
}

/// How far off a name may be: `PGPORT` is not `DB_PORT`, and `DB_USERS` may well be `DB_USER`.
fn allowed(name: &str, meant: &str) -> usize {
    let same = name.split('_').next() == meant.split('_').next();
    match (same, meant.len()) {
        (true, ..8) => 1,
        (true, 8..16) => 2,
        (true, _) => 3,
        (false, ..7) => 0,
        (false, 7..11) => 1,
        (false, _) => 2,
    }
}

/// Whether they are made of the same words: `DB_MAX_POOL` and `DB_POOL_MAX`.
fn same_words(one: &str, other: &str) -> bool {
    let words = |name: &str| {
        let mut words: Vec<String> = name.split('_').map(str::to_owned).collect();
        words.sort();
        words
    };
    words(one) == words(other)
}

/// How many letters must be put in, left out, replaced or swapped with their neighbour.
pub(crate) fn distance(one: &str, other: &str) -> usize {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (row, letter) in one.iter().enumerate() {
        let mut next = vec![row + 1];
        for (column, wanted) in other.iter().enumerate() {
            let replaced = last[column] + usize::from(letter != wanted);
            let mut least = replaced.min(last[column + 1] + 1).min(next[column] + 1);
            if row > 0 && column > 0 && *letter == other[column - 1] && one[row - 1] == *wanted {
                least = least.min(before[column - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut last, next);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 9] = [
        "APP_ENV",
        "DATABASE_URL",
        "DB_POOL_MAX",
        "DB_POOL_MIN",
        "DB_PORT",
        "DB_USER",
        "DB_MAX_PREPARED_STATEMENTS",
        "POSTGRES_PASSWORD",
        "SLOW_QUERY_THRESHOLD",
    ];

    #[test]
    fn a_misspelt_name_is_known_for_what_it_is_meant_to_be() {
        for (name, meant) in [
            ("DB_POOL_MAXX", "DB_POOL_MAX"),
            ("DB_POLL_MAX", "DB_POOL_MAX"),
            ("DB_MAX_POOL", "DB_POOL_MAX"),
            ("db_pool_max", "DB_POOL_MAX"),
            ("DBPOOL_MAX", "DB_POOL_MAX"),
            ("DATABSE_URL", "DATABASE_URL"),
            ("DATABASE_ULR", "DATABASE_URL"),
            ("POSTGRES_PASWORD", "POSTGRES_PASSWORD"),
            ("DB_MAX_PREPARD_STATEMENT", "DB_MAX_PREPARED_STATEMENTS"),
            ("SLOW_QUERY_TRESHOLD", "SLOW_QUERY_THRESHOLD"),
            ("APP_ENVV", "APP_ENV"),
            ("APPENV", "APP_ENV"),
        ] {
            assert_eq!(nearest(name, &KNOWN), Some(meant), "{name}");
        }
    }

    #[test]
    fn what_belongs_to_somebody_else_is_left_alone() {
        for name in
            ["PGPORT", "PATH", "USER", "PORT", "DB_CART", "DB_FOO_BAR", "APP_NAME", "APP_ID", "HOME", "DÖB"]
        {
            assert_eq!(nearest(name, &KNOWN), None, "{name}");
        }
        assert_eq!(nearest(&"X".repeat(10_000), &KNOWN), None);
    }

    #[test]
    fn names_of_other_letters_are_far_whatever_their_order() {
        assert!(are_far(letters("PATH"), "DB_PORT", 1));
        assert!(are_far(letters("ABCDEFGH"), "IJKLMNOP", 3));
        assert!(!are_far(letters("DB_MAX_POOL"), "DB_POOL_MAX", 1));
    }

    #[test]
    fn the_distance_counts_letters_and_swaps_of_neighbours() {
        for (one, other, steps) in
            [("", "ab", 2), ("ab", "ba", 1), ("abc", "adc", 1), ("abcd", "acbd", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(one, other), steps, "{one} {other}");
            assert!(!are_far(letters(one), other, steps), "{one} {other}");
            assert_eq!(distance(other, one), steps, "{other} {one}");
        }
    }
}
