//! The name of a span as it stands in the server's log, so that a slow line there leads to who caused it.

use std::fmt;

/// The longest `application_name` that a server keeps, in bytes.
const LONGEST_NAME: usize = 63;
/// What ends the session's own name.
const MARK: char = '#';
/// The digits of a trace, a hyphen, and the last digits of a span.
const TRACE_DIGITS: usize = 32;
const SPAN_DIGITS: usize = 8;
const DIGITS: usize = TRACE_DIGITS + 1 + SPAN_DIGITS;

/// The span in which statements are asked for, as the server's log names it.
///
/// Its text is the trace id of the W3C's `traceparent`, all 32 digits, a hyphen, and the last 8 digits of the
/// span id. The label of a session is its `application_name`, cut to 21 characters, a `#`, and that text:
///
/// ```
/// use db_core::TraceLink;
///
/// let link = TraceLink { trace: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, span: 0x00f0_67aa_0ba9_02b7 };
/// assert_eq!(link.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736-0ba902b7");
/// assert_eq!(link.label("shop"), "shop#4bf92f3577b34da6a3ce929d0e0e4736-0ba902b7");
/// assert_eq!(TraceLink::unlabelled(&link.label("shop")), "shop");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceLink {
    /// The trace id.
    pub trace: u128,
    /// The id of the span in it.
    pub span: u64,
}

impl TraceLink {
    /// The `application_name` of a session that is called `name` without it: at most 63 bytes, all of them
    /// printable ASCII, and neither a quote nor a backslash.
    pub fn label(self, name: &str) -> String {
        let plain =
            |c: char| if c.is_ascii_graphic() && !matches!(c, '\'' | '\\') || c == ' ' { c } else { '?' };
        let mut label: String = name.chars().map(plain).take(LONGEST_NAME - 1 - DIGITS).collect();
        label.push(MARK);
        label.push_str(&self.to_string());
        label
    }

    /// The session's own name in an `application_name`, without the label.
    pub fn unlabelled(name: &str) -> &str {
        let Some((own, digits)) = name.rsplit_once(MARK) else { return name };
        let is_digits = |text: &str, many| {
            text.len() == many && text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_label = digits
            .split_once('-')
            .is_some_and(|(trace, span)| is_digits(trace, TRACE_DIGITS) && is_digits(span, SPAN_DIGITS));
        if is_label { own } else { name }
    }
}

impl fmt::Display for TraceLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}-{:08x}", self.trace, self.span & 0xffff_ffff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_fits_whatever_the_name_and_gives_it_back() {
        let link = TraceLink { trace: u128::MAX, span: 1 };
        for (name, own) in [
            ("", ""),
            ("shop", "shop"),
            ("a#b", "a#b"),
            ("orders-service-7d9f8b6c5-x2x9k", "orders-service-7d9f8b"),
            ("l'été\\\n", "l??t???"),
        ] {
            let label = link.label(name);
            assert!(label.len() <= LONGEST_NAME, "{label}");
            assert_eq!(TraceLink::unlabelled(&label), own, "{label}");
        }
    }

    #[test]
    fn what_is_no_label_is_left_alone() {
        for name in ["shop", "", "#", "shop#1234", "shop#4bf92f3577b34da6a3ce929d0e0e4736", "é#é-é"] {
            assert_eq!(TraceLink::unlabelled(name), name);
        }
    }
}
