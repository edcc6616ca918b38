//! Turns a value into another one of the same kind: the same value with the same key always into the same.

use std::fmt::Write as _;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::draw::Draw;
use crate::words;

/// What becomes of a column's values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Mask {
    Keep,
    Null,
    Fixed(String),
    Email,
    Name,
    GivenName,
    FamilyName,
    /// Letters become letters and digits digits; all other signs stay.
    Format,
    Text,
    Hash,
    Uuid,
    Number,
    /// Moved by up to half a year.
    Date,
    /// Texts and numbers within the document.
    Json,
}

impl Mask {
    pub(crate) const NAMES: &'static str = "keep, null, email, name, given_name, family_name, format, text, hash, \
         uuid, number, date, json, or { fixed = \"value\" }";

    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "keep" => Mask::Keep,
            "null" => Mask::Null,
            "email" => Mask::Email,
            "name" => Mask::Name,
            "given_name" => Mask::GivenName,
            "family_name" => Mask::FamilyName,
            "format" => Mask::Format,
            "text" => Mask::Text,
            "hash" => Mask::Hash,
            "uuid" => Mask::Uuid,
            "number" => Mask::Number,
            "date" => Mask::Date,
            "json" => Mask::Json,
            _ => return None,
        })
    }
}

/// The secret that masks are made with. Without it nobody can find a value by masking guesses.
#[derive(Clone)]
pub(crate) struct Secret(pub(crate) Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// HMAC-SHA-256 (RFC 2104) of a value.
    fn digest(&self, value: &str) -> [u8; 32] {
        match <Hmac<Sha256> as hmac::Mac>::new_from_slice(&self.0) {
            Ok(mac) => mac.chain_update(value.as_bytes()).finalize().into_bytes().into(),
            // HMAC takes keys of any length.
            Err(_) => [0; 32],
        }
    }

    pub(crate) fn draw(&self, value: &str) -> Draw {
        let digest = self.digest(value);
        let number =
            |at: usize| digest[at..at + 8].iter().fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
        Draw::new(number(0), number(8))
    }

    fn hexadecimal(&self, value: &str) -> String {
        self.digest(value).iter().fold(String::new(), |mut text, byte| {
            _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// The masked value; `unique` where no two values may become the same.
    pub(crate) fn masked(&self, mask: &Mask, value: &str, unique: bool) -> Option<String> {
        let mut draw = self.draw(value);
        let short = || self.hexadecimal(value)[..12].to_owned();
        let told_apart = |text: String| if unique { format!("{text} {}", short()) } else { text };
        Some(match mask {
            Mask::Keep => value.to_owned(),
            Mask::Null => return None,
            Mask::Fixed(fixed) => fixed.clone(),
            Mask::Email => format!("{}@example.com", short()),
            Mask::Name => told_apart(format!("{} {}", draw.pick(words::GIVEN), draw.pick(words::FAMILY))),
            Mask::GivenName => told_apart(draw.pick(words::GIVEN).to_owned()),
            Mask::FamilyName => told_apart(draw.pick(words::FAMILY).to_owned()),
            Mask::Format => in_format(value, &mut draw),
            Mask::Text => {
                let count = value.split_whitespace().count().clamp(1, 200);
                let words: Vec<&str> = (0..count).map(|_| draw.pick(words::WORD)).collect();
                told_apart(words.join(" "))
            }
            Mask::Hash => self.hexadecimal(value),
            Mask::Uuid => draw.uuid().to_string(),
            Mask::Number => in_format(value, &mut draw),
            Mask::Date => return moved(value, &mut draw),
            Mask::Json => {
                let json: serde_json::Value = serde_json::from_str(value).ok()?;
                self.json(json).to_string()
            }
        })
    }

    fn json(&self, json: serde_json::Value) -> serde_json::Value {
        use serde_json::Value;
        match json {
            Value::String(text) => Value::String(in_format(&text, &mut self.draw(&text))),
            Value::Number(number) => {
                let text = number.to_string();
                let masked = in_format(&text, &mut self.draw(&text));
                serde_json::from_str(&masked).unwrap_or(Value::Number(number))
            }
            Value::Array(list) => Value::Array(list.into_iter().map(|one| self.json(one)).collect()),
            Value::Object(map) => {
                Value::Object(map.into_iter().map(|(name, value)| (name, self.json(value))).collect())
            }
            other => other,
        }
    }
}

/// Each letter becomes a letter, each digit a digit. The first digit of a number stays one that is not 0.
pub(crate) fn in_format(value: &str, draw: &mut Draw) -> String {
    let mut leading = true;
    value
        .chars()
        .map(|c| match c {
            '0'..='9' => {
                let digit = if leading { 1 + draw.below(9) } else { draw.below(10) };
                leading = false;
                char::from_digit(digit as u32, 10).unwrap_or('1')
            }
            c if c.is_uppercase() => char::from(b'A' + draw.below(26) as u8),
            c if c.is_alphabetic() => char::from(b'a' + draw.below(26) as u8),
            c => c,
        })
        .collect()
}

/// A date or a timestamp, moved by up to half a year; the time of day stays.
fn moved(value: &str, draw: &mut Draw) -> Option<String> {
    let (day, rest) = value.split_at_checked(10)?;
    let day = chrono::NaiveDate::parse_from_str(day, "%Y-%m-%d").ok()?;
    let days = 1 + draw.below(180) as i64;
    let days = if draw.below(2) == 0 { -days } else { days };
    Some(format!("{}{rest}", day.checked_add_signed(chrono::TimeDelta::days(days))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_the_same_for_the_same_value_and_key_and_another_for_others() {
        let (one, two) = (Secret(b"one".to_vec()), Secret(b"two".to_vec()));
        for mask in [Mask::Email, Mask::Format, Mask::Hash, Mask::Uuid, Mask::Name, Mask::Text, Mask::Json] {
            let value = if mask == Mask::Json { r#"{"phone": "+49 170 1234567"}"# } else { "Ada 0170 12345" };
            let masked = one.masked(&mask, value, true);
            assert_eq!(masked, one.masked(&mask, value, true), "{mask:?}");
            assert_ne!(masked, two.masked(&mask, value, true), "{mask:?}");
            assert!(!masked.unwrap_or_default().contains("170 1234"), "{mask:?}");
        }
        assert_eq!(one.masked(&Mask::Date, "not a day", false), None);
        assert!(
            one.masked(&Mask::Date, "2024-02-29 10:11:12+00", false)
                .is_some_and(|at| at.ends_with(" 10:11:12+00"))
        );
    }
}
