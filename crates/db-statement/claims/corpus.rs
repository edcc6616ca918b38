//! The corpora of statements that are the same and that are not.

use db_statement::fingerprint;
use serde_json::json;

use crate::read::{DIFFERENT, EQUAL, pairs};
use crate::{Figure, Size};

// Fails without the line `Kind::Integer if self.is_position() => Sort::Kept` in atoms.rs: `ORDER BY 1` is
// `ORDER BY 2` then.
pub(crate) fn measure(_: Size) -> Figure {
    let (equal, different) = (pairs(EQUAL), pairs(DIFFERENT));
    let is_equal = |(one, other): &&(String, String)| fingerprint(one) == fingerprint(other);
    let apart: Vec<_> = equal.iter().filter(|pair| !is_equal(pair)).collect();
    let together: Vec<_> = different.iter().filter(is_equal).collect();
    let wrong = apart.len() + together.len();
    Figure {
        value: wrong as f64,
        unit: "mismatches",
        holds: wrong == 0 && equal.len() >= 60 && different.len() >= 200,
        detail: json!({
            "equal_pairs": equal.len(),
            "different_pairs": different.len(),
            "equal_but_apart": apart,
            "different_but_together": together,
        }),
    }
}
