//! Which statements have the same fingerprint, and which have not.

use db_statement::{fingerprint, normalize, summary};
use proptest::prelude::*;

use crate::read::{DIFFERENT, EQUAL, blocks, pairs};

#[test]
fn statements_that_are_the_same_have_one_fingerprint() {
    let pairs = pairs(EQUAL);
    assert!(pairs.len() >= 60, "{}", pairs.len());
    for (one, other) in pairs {
        assert_eq!(normalize(&one), normalize(&other), "{one}\n{other}");
        assert_eq!(fingerprint(&one), fingerprint(&other), "{one}\n{other}");
        assert_eq!(summary(&one), summary(&other), "{one}\n{other}");
    }
}

#[test]
fn statements_that_differ_in_meaning_have_different_fingerprints() {
    let pairs = pairs(DIFFERENT);
    assert!(pairs.len() >= 200, "{}", pairs.len());
    let mut seen = std::collections::HashMap::new();
    for (one, other) in pairs {
        assert_ne!(fingerprint(&one), fingerprint(&other), "{one}\n{other}\n{}", normalize(&one));
        for text in [one, other] {
            let normal = normalize(&text);
            assert_eq!(seen.entry(fingerprint(&text)).or_insert(normal.clone()), &normal, "{text}");
        }
    }
}

#[test]
fn a_normal_form_is_its_own_normal_form() {
    for text in blocks(EQUAL).into_iter().chain(blocks(DIFFERENT)).flatten() {
        let normal = normalize(&text);
        assert_eq!(fingerprint(&normal), fingerprint(&text), "{text}\n{normal}\n{}", normalize(&normal));
    }
}

#[test]
fn the_normal_form_reads_well() {
    let check = |text: &str, want: &str| assert_eq!(normalize(text), want);
    check(
        "SELECT Count( * ),a.b FROM a WHERE x IN(1,2)AND NOT(y)",
        "select count(*), a.b from a where x in (?) and not (y)",
    );
    check("INSERT INTO t(a,b) VALUES(1,2),(3,4)", "insert into t(a, b) values (?, ?)");
    check("SELECT a -1, -1, a[1]::int FROM t ORDER BY 2", "select a - ?, ?, a[?]::int from t order by 2");
    check("a;;b;", "a; b");
}

#[test]
fn fingerprints_stay_the_same_in_every_release() {
    let check =
        |text: &str, want: &str| assert_eq!(fingerprint(text).to_string(), want, "{}", normalize(text));
    check("", "cbf29ce484222325");
    check("SELECT 1", "02fb7a5a1a5a9a58");
}

#[test]
fn a_long_text_is_read_to_the_limit_and_says_so() {
    let rows = format!("(1, '{}'), ", "é".repeat(500)).repeat(db_statement::LONGEST_TEXT / 1000);
    let text = format!("INSERT INTO t VALUES {rows}");
    assert!(text.len() > db_statement::LONGEST_TEXT);
    assert_eq!(normalize(&text), "insert into t values (?, ?) …");
    assert_eq!(fingerprint(&text), fingerprint(&format!("{text} (1, 2)")));
    assert!(!db_statement::touched(&text).complete);
}

/// White space and comments, of which at least one sets tokens apart.
fn blank() -> impl Strategy<Value = String> {
    prop::sample::select(vec![" ", "\n", "\t ", " /* a /* b */ 'c */ ", " -- it's \"\n", "\r\n", "  "])
        .prop_map(str::to_owned)
}

/// A constant.
fn constant() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| format!("{n:e}")),
        "[a-z' ]{0,9}".prop_map(|text| format!("'{}'", text.replace('\'', "''"))),
        "[a-z]{0,9}".prop_map(|text| format!("$x${text}$x$")),
        (1..99).prop_map(|n| format!("${n}")),
        Just("E'\\'\\\\'".to_owned()),
        Just("0x1F".to_owned()),
    ]
}

/// A template with `?` for each constant, `#` for a list, `_` for white space, filled in at random.
fn filled(template: &'static str) -> impl Strategy<Value = String> {
    let parts: Vec<BoxedStrategy<String>> = template
        .chars()
        .map(|one| match one {
            '?' => constant().boxed(),
            '_' => blank().boxed(),
            '#' => prop::collection::vec(constant(), 1..9).prop_map(|list| list.join(",")).boxed(),
            other => Just(other.to_string()).boxed(),
        })
        .collect();
    parts.prop_map(|parts| parts.concat())
}

const TEMPLATES: [&str; 5] = [
    "SELECT_a,_?_FROM_t_WHERE_b_=_?_AND_c_IN_(#)_ORDER_BY_2_LIMIT_?",
    "INSERT_INTO_t_(a,_b)_VALUES_(?,_?),(?,?)_RETURNING_a",
    "UPDATE_t_SET_a_=_?,b=?_WHERE_c_=_ANY(ARRAY[#])_AND_d_IN(#)",
    "DELETE_FROM_t_USING_u_WHERE_t.a_<_?_OR_(u.b,_c)_IN_((?,_?),_(?,_?))",
    "WITH_x_AS_(SELECT_?::text_FROM_s.t)_SELECT_*_FROM_x_WHERE_y_BETWEEN_?_AND_?",
];

fn two_of_one() -> impl Strategy<Value = (String, String)> {
    prop::sample::select(TEMPLATES.to_vec()).prop_flat_map(|template| (filled(template), filled(template)))
}

proptest! {
    #[test]
    fn constants_lengths_spaces_and_comments_do_not_matter((one, other) in two_of_one()) {
        prop_assert_eq!(normalize(&one), normalize(&other));
        prop_assert_eq!(fingerprint(&one), fingerprint(&other));
    }

    #[test]
    fn nothing_is_lost_between_the_tokens_of_a_normal_form(text in "\\PC{0,200}") {
        let normal = normalize(&text);
        prop_assert!(normal.len() <= 2 * text.len() + 8, "{} against {}", normal.len(), text.len());
    }
}
