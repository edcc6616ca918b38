//! Draws a value for a column from its type, its bounds and its name.

use chrono::{DateTime, NaiveDate, TimeDelta};
use std::fmt::Write as _;

use super::bounds::Bounds;
use super::column_type::{ColumnType, Geometry, Unit};
use super::{flat, list, pattern};
use crate::draw::Draw;
use crate::words;

/// A second, a day and a year, in microseconds.
const SECOND: f64 = 1e6;
const DAY: f64 = 86_400e6;
const YEAR: f64 = 365.0 * DAY;

/// How a value is asked for.
pub(crate) struct Wish<'a> {
    pub(crate) name: &'a str,
    pub(crate) holds: &'a ColumnType,
    pub(crate) bounds: &'a Bounds,
    /// The row, counted from 0.
    pub(crate) row: u64,
    /// Whether each row wants another value.
    pub(crate) unique: bool,
    /// The first number of a unique column of numbers.
    pub(crate) first: i64,
    /// Microseconds since 1970-01-01 UTC: times lie in the year before it.
    pub(crate) now: i64,
}

/// A value, as PostgreSQL writes it; `None` where no value of the type is known.
pub(crate) fn value(wish: &Wish<'_>, draw: &mut Draw) -> Option<String> {
    if let Some(choices) = &wish.bounds.choices {
        let at = if wish.unique {
            wish.row % choices.len().max(1) as u64
        } else {
            draw.below(choices.len() as u64)
        };
        return choices.get(at as usize).cloned();
    }
    Some(match wish.holds {
        ColumnType::Integer { .. } if wish.unique => {
            let least = wish.bounds.least.unwrap_or(1.0).max(wish.first as f64);
            // A part of a key with few values begins anew.
            let span = wish.bounds.most.map_or(f64::MAX, |most| most - least + 1.0);
            let row = if (1.0..1e9).contains(&span) { wish.row % span as u64 } else { wish.row };
            (least as i64).saturating_add(i64::try_from(row).unwrap_or(i64::MAX)).to_string()
        }
        ColumnType::Integer { .. } | ColumnType::Numeric(_) | ColumnType::Float | ColumnType::Money => {
            number(wish, draw)
        }
        ColumnType::Text(..) => text(wish, draw),
        ColumnType::Boolean => if draw.below(2) == 0 { "f" } else { "t" }.to_owned(),
        ColumnType::Date | ColumnType::Timestamp | ColumnType::Time => {
            let at = moment(wish, draw);
            written(wish.holds, at)
        }
        ColumnType::Interval(unit) => length_of_time(wish, *unit, draw),
        ColumnType::Uuid => draw.uuid().to_string(),
        ColumnType::Bytes => {
            let length = length(wish.bounds, 16, draw);
            (0..length).fold("\\x".to_owned(), |mut text, _| {
                _ = write!(text, "{:02x}", draw.below(256));
                text
            })
        }
        ColumnType::Json => json(wish, draw),
        // Without labels there is no value.
        ColumnType::Enum(_) => return None,
        ColumnType::Array(of) => {
            let length = length(&Bounds { patterns: Vec::new(), ..wish.bounds.clone() }, 3, draw);
            let element = Bounds::default();
            let mut parts = Vec::new();
            for _ in 0..length {
                let wish = Wish { holds: of, bounds: &element, unique: false, ..*wish };
                let wish = Wish { bounds: &of_type(of), ..wish };
                parts.push(Some(value(&wish, draw)?));
            }
            list::text(&parts)
        }
        ColumnType::Range(of) => range(wish, of, draw)?,
        ColumnType::Multirange(of) => format!("{{{}}}", range(wish, of, draw)?),
        ColumnType::Inet if wish.unique => {
            let row = wish.row;
            format!("10.{}.{}.{}", (row >> 16) & 255, (row >> 8) & 255, row & 255)
        }
        ColumnType::Inet => format!("10.{}.{}.{}", draw.below(256), draw.below(256), 1 + draw.below(254)),
        ColumnType::Cidr => match wish.unique {
            true => format!("10.{}.{}.0/24", (wish.row >> 8) & 255, wish.row & 255),
            false => format!("10.{}.{}.0/24", draw.below(256), draw.below(256)),
        },
        ColumnType::MacAddress(bytes) => {
            let parts: Vec<String> = (0..*bytes).map(|_| format!("{:02x}", draw.below(256))).collect();
            parts.join(":")
        }
        ColumnType::Bits(length, _) => {
            (0..*length).map(|_| if draw.below(2) == 0 { '0' } else { '1' }).collect()
        }
        ColumnType::Geometry(shape) => geometry(*shape, draw),
        ColumnType::Words => format!("'{}' '{}'", draw.pick(words::WORD), draw.pick(words::WORD)),
        ColumnType::Xml => format!("<note>{}</note>", draw.pick(words::WORD)),
        ColumnType::Lsn => format!("0/{:X}", draw.below(1 << 30)),
        ColumnType::Path => format!("top.{}.n{}", draw.pick(words::WORD), wish.row),
        ColumnType::Pairs => format!("\"{}\"=>\"{}\"", draw.pick(words::WORD), draw.pick(words::WORD)),
        ColumnType::Vector(length) => {
            let parts: Vec<String> = (0..(*length).max(1)).map(|_| format!("{:.3}", draw.unit())).collect();
            format!("[{}]", parts.join(","))
        }
        ColumnType::Composite(parts) => {
            let mut texts = Vec::new();
            for (name, part) in parts {
                let wish = Wish { name, holds: part, bounds: &of_type(part), unique: false, ..*wish };
                texts.push(list::in_quotes(&value(&wish, draw)?));
            }
            format!("({})", texts.join(","))
        }
        ColumnType::Checked(of, checks) => flat::checked(wish, of, checks, draw)?,
        ColumnType::Other(_) => return None,
    })
}

/// The bounds that a type has by itself.
pub(crate) fn of_type(holds: &ColumnType) -> Bounds {
    match holds {
        ColumnType::Enum(labels) => Bounds { choices: Some(labels.to_vec()), ..Bounds::default() },
        ColumnType::Text(most, _) => Bounds { most_length: *most, ..Bounds::default() },
        ColumnType::Integer { least, most } => {
            Bounds { least: Some(*least as f64), most: Some(*most as f64), ..Bounds::default() }
        }
        ColumnType::Numeric(Some((digits, scale))) => {
            let most = 10_f64.powi(*digits as i32 - *scale as i32) - 1.0;
            Bounds { least: Some(0.0), most: Some(most.max(0.0)), ..Bounds::default() }
        }
        _ => Bounds::default(),
    }
}

/// A length of time within bounds: hours or days, where nothing says otherwise.
fn length_of_time(wish: &Wish<'_>, unit: Unit, draw: &mut Draw) -> String {
    let (micros, _) = unit.length();
    let least = wish.bounds.least.unwrap_or(wish.bounds.most.map_or(micros, |most| most.min(micros)));
    let most = wish.bounds.most.unwrap_or(least.max(0.0) + 72.0 * micros.max(3600e6));
    let at = least + draw.unit() * (most - least).max(0.0);
    let least_units = (least / micros).ceil();
    written(wish.holds, (at / micros).round().max(least_units) * micros)
}

fn length(bounds: &Bounds, usual: u32, draw: &mut Draw) -> u64 {
    let most =
        bounds.most_length.unwrap_or(bounds.least_length.max(usual)).min(bounds.least_length.max(usual));
    u64::from(bounds.least_length) + draw.below(u64::from(most.saturating_sub(bounds.least_length)) + 1)
}

/// A number within bounds, written with as many digits behind the point as the type has.
fn number(wish: &Wish<'_>, draw: &mut Draw) -> String {
    let (least, most) = usual_numbers(wish.name);
    let bounds = wish.bounds;
    // The usual range where it fits into the bounds, else as much of them as is usual.
    let least = bounds.least.map_or(least, |bound| bound.max(least));
    let most = bounds.most.map_or(most.max(least), |bound| bound.min(most.max(least)));
    let (least, most) = match least <= most {
        true => (least, most),
        false => (bounds.least.unwrap_or(most).min(most), most),
    };
    if wish.unique {
        return numeral(wish.holds, least + wish.row as f64 * super::bounds::step(wish.holds));
    }
    numeral(wish.holds, least + draw.unit() * (most - least))
}

/// A number as text of a type.
pub(crate) fn numeral(holds: &ColumnType, number: f64) -> String {
    match holds {
        ColumnType::Integer { least, most } => (number.round() as i64).clamp(*least, *most).to_string(),
        ColumnType::Numeric(Some((_, scale))) => format!("{number:.*}", *scale as usize),
        ColumnType::Numeric(None) | ColumnType::Money => {
            let text = format!("{number:.4}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ => number.to_string(),
    }
}

/// The least and the greatest number that a column of this name usually has.
fn usual_numbers(name: &str) -> (f64, f64) {
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if has(&["lat"]) && !has(&["late", "plate", "flat", "rela"]) {
        (-60.0, 70.0)
    } else if has(&["lng", "lon"]) && !has(&["long_", "along"]) {
        (-180.0, 180.0)
    } else if has(&["percent", "pct", "discount"]) {
        (0.0, 100.0)
    } else if has(&["rating", "stars", "score", "priority", "level"]) {
        (1.0, 5.0)
    } else if has(&["rate", "ratio", "fraction", "share", "probability"]) {
        (0.0, 1.0)
    } else if has(&["quantity", "qty", "count"]) {
        (1.0, 20.0)
    } else if has(&["year"]) {
        (1990.0, 2025.0)
    } else if has(&["month"]) {
        (1.0, 12.0)
    } else if has(&["day", "dow"]) {
        (1.0, 7.0)
    } else if has(&["hour"]) {
        (0.0, 23.0)
    } else if has(&["age"]) && !has(&["page", "image", "stage", "usage", "storage", "message"]) {
        (18.0, 90.0)
    } else if has(&["bytes", "size"]) {
        (100.0, 1_000_000.0)
    } else {
        (1.0, 500.0)
    }
}

/// The moment of a cell. What begins lies before what ends, because most tables mean it so.
fn moment(wish: &Wish<'_>, draw: &mut Draw) -> f64 {
    if *wish.holds == ColumnType::Time {
        let at = draw.below(86_400) as f64 * SECOND;
        return at.clamp(wish.bounds.least.unwrap_or(0.0), wish.bounds.most.unwrap_or(DAY - SECOND));
    }
    let now = wish.now as f64;
    let name = wish.name;
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    let (from, to) = if has(&["birth", "dob"]) {
        (now - 80.0 * YEAR, now - 18.0 * YEAR)
    } else if has(&["creat", "start", "begin", "from", "since", "insert", "open", "check_in", "valid_at"]) {
        (now - 2.0 * YEAR, now - YEAR)
    } else if has(&["expir", "due", "until", "valid_to", "next"]) {
        (now + DAY, now + YEAR)
    } else if has(&["end", "finish", "complete", "close", "deliver", "to", "out", "delet", "cancel"]) {
        (now - 0.4 * YEAR, now)
    } else {
        (now - YEAR, now - 0.5 * YEAR)
    };
    let least = wish.bounds.least.unwrap_or(from);
    let (from, to) = match wish.bounds.most {
        Some(most) if most < from.max(least) => (wish.bounds.least.unwrap_or(most - YEAR), most),
        Some(most) => (from.max(least), to.max(least).min(most)),
        None if from < least => (least, least + YEAR),
        None => (from, to),
    };
    if wish.unique {
        let step = if *wish.holds == ColumnType::Date { DAY } else { 60.0 * SECOND };
        return from + wish.row as f64 * step;
    }
    from + draw.unit() * (to - from).max(0.0)
}

/// A moment as text of a type, rounded to whole seconds or days.
pub(crate) fn written(holds: &ColumnType, micros_of: f64) -> String {
    let seconds = (micros_of / SECOND).floor();
    match holds {
        ColumnType::Time => {
            let second = (seconds.rem_euclid(86_400.0)) as u32;
            format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
        }
        ColumnType::Date => {
            let days = (micros_of / DAY).floor().clamp(-700_000.0, 2_900_000.0) as i64;
            let epoch = NaiveDate::default();
            epoch.checked_add_signed(TimeDelta::days(days)).unwrap_or(epoch).to_string()
        }
        ColumnType::Interval(unit) => {
            let (micros, name) = unit.length();
            format!("{} {name}", (micros_of / micros).round())
        }
        _ => {
            let at = DateTime::from_timestamp(seconds as i64, 0).unwrap_or_default();
            format!("{}+00", at.format("%Y-%m-%d %H:%M:%S"))
        }
    }
}

fn range(wish: &Wish<'_>, of: &ColumnType, draw: &mut Draw) -> Option<String> {
    let (from, to) = span(of, wish.row, wish.now, draw)?;
    Some(format!("[\"{from}\",\"{to}\")"))
}

/// Where a range of a row begins and ends. Each row has a slot of its own, so that ranges do not overlap.
pub(crate) fn span(of: &ColumnType, row: u64, now: i64, draw: &mut Draw) -> Option<(String, String)> {
    let (row, within, begun) = (row as f64, draw.unit(), now as f64 - 2.0 * YEAR);
    Some(match of {
        ColumnType::Date => {
            let from = begun + row * 10.0 * DAY;
            (written(of, from), written(of, from + (1.0 + (within * 8.0).floor()) * DAY))
        }
        ColumnType::Timestamp => {
            let from = begun + row * DAY;
            (written(of, from), written(of, from + (1.0 + within * 20.0) * 3600.0 * SECOND))
        }
        holds if holds.is_number() => {
            let from = row * 100.0;
            (numeral(of, from), numeral(of, from + 1.0 + (within * 90.0).floor()))
        }
        _ => return None,
    })
}

fn json(wish: &Wish<'_>, draw: &mut Draw) -> String {
    let has = |words: &[&str]| words.iter().any(|word| wish.name.contains(word));
    if has(&["tags", "list", "items", "array"]) {
        return format!("[\"{}\", \"{}\"]", draw.pick(words::WORD), draw.pick(words::WORD));
    }
    format!(
        "{{\"{}\": {}, \"note\": \"{}\"}}",
        draw.pick(words::WORD),
        draw.below(100),
        draw.pick(words::WORD)
    )
}

fn geometry(shape: Geometry, draw: &mut Draw) -> String {
    let mut point = || format!("({:.2},{:.2})", draw.unit() * 100.0, draw.unit() * 100.0);
    match shape {
        Geometry::Point => point(),
        Geometry::Line => "{1,-1,0}".to_owned(),
        Geometry::Segment => format!("[{},{}]", point(), point()),
        Geometry::Box => format!("{},{}", point(), point()),
        Geometry::Path => format!("[{},{},{}]", point(), point(), point()),
        Geometry::Polygon => format!("({},{},{})", point(), point(), point()),
        Geometry::Circle => format!("<{},{}>", point(), "5"),
    }
}

/// A text: what a column of that name usually has, where the patterns allow it, else one drawn from a
/// pattern.
fn text(wish: &Wish<'_>, draw: &mut Draw) -> String {
    /// How often a pattern is drawn from until length and all patterns agree.
    const TRIES: usize = 60;
    let bounds = wish.bounds;
    let usual = usual_text(wish, draw);
    let usual = if wish.unique { numbered(&usual, wish.row, bounds) } else { fitted(&usual, bounds, draw) };
    if bounds.allows(&usual) {
        return usual;
    }
    let mut last = usual;
    for turn in 0..if bounds.patterns.is_empty() { 0 } else { TRIES } {
        let (operator, pattern) = &bounds.patterns[turn % bounds.patterns.len()];
        let Some(drawn) = pattern::text_for(operator, pattern, draw) else { continue };
        for text in [fitted(&drawn, bounds, draw), drawn] {
            if bounds.allows(&text) {
                return text;
            }
            last = text;
        }
    }
    last
}

/// The number of the row makes a text another one; a short column has nothing but that.
fn numbered(usual: &str, row: u64, bounds: &Bounds) -> String {
    let number = in_letters(row);
    let room = bounds.most_length.unwrap_or(u32::MAX) as usize;
    let fitting = match usual.split_once('@') {
        Some((name, host)) => format!("{name}.{number}@{host}"),
        None if room < 8 => number.clone(),
        None => format!("{usual}-{number}"),
    };
    if fitting.chars().count() <= room {
        return padded(fitting, bounds, &number);
    }
    let kept: String = usual.chars().take(room.saturating_sub(number.len() + 1)).collect();
    let fitting = if kept.is_empty() { number.clone() } else { format!("{kept}-{number}") };
    padded(fitting, bounds, &number)
}

/// Fills up in front, so that what makes the text another one stays at its end.
fn padded(text: String, bounds: &Bounds, number: &str) -> String {
    let missing = (bounds.least_length as usize).saturating_sub(text.chars().count());
    if missing == 0 {
        return text;
    }
    if text == number {
        format!("{}{text}", "0".repeat(missing))
    } else {
        format!("{}{text}", "x".repeat(missing))
    }
}

/// A number in digits and letters: short, and another one for each row.
fn in_letters(mut number: u64) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut text = Vec::new();
    loop {
        text.push(char::from(DIGITS[(number % 36) as usize]));
        number /= 36;
        if number == 0 {
            return text.into_iter().rev().collect();
        }
    }
}

/// Cuts or fills a text to the length that is allowed.
pub(crate) fn fitted(text: &str, bounds: &Bounds, draw: &mut Draw) -> String {
    let most = bounds.most_length.map_or(usize::MAX, |most| most as usize);
    let mut fitted: String = text.chars().take(most).collect();
    while fitted.chars().count() < bounds.least_length as usize {
        let room = bounds.least_length as usize - fitted.chars().count();
        let word = draw.pick(words::WORD);
        match room {
            1 => fitted.push('x'),
            _ => {
                fitted.push('x');
                fitted.extend(word.chars().take(room - 1));
            }
        }
    }
    fitted
}

fn usual_text(wish: &Wish<'_>, draw: &mut Draw) -> String {
    let name = wish.name.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    let most = wish.bounds.most_length.unwrap_or(u32::MAX);
    let host = |draw: &mut Draw| format!("{}.example", draw.pick(words::COMPANY).to_lowercase());
    if has(&["email", "mail"]) {
        let (given, family) = (draw.pick(words::GIVEN), draw.pick(words::FAMILY));
        format!("{given}.{family}@example.com").to_lowercase()
    } else if has(&["url", "uri", "website", "link", "homepage"]) {
        format!("https://{}/{}", host(draw), draw.pick(words::WORD))
    } else if has(&["phone", "mobile", "fax", "tel"]) {
        format!("+1555{:07}", draw.below(10_000_000))
    } else if has(&["first_name", "given", "firstname"]) {
        draw.pick(words::GIVEN).to_owned()
    } else if has(&["last_name", "family", "surname", "lastname"]) {
        draw.pick(words::FAMILY).to_owned()
    } else if has(&["user_name", "username", "login", "handle", "nick"]) {
        format!("{}{}", draw.pick(words::GIVEN).to_lowercase(), draw.below(1000))
    } else if has(&["company", "organi", "vendor", "supplier", "brand", "manufacturer"]) {
        format!("{} {}", draw.pick(words::COMPANY), draw.pick(words::TRADE))
    } else if has(&["currency"]) {
        draw.pick(&["EUR", "USD", "GBP", "CHF", "JPY"]).to_owned()
    } else if has(&["country"]) && most <= 3 {
        draw.pick(if most == 3 {
            &["DEU", "FRA", "USA", "JPN", "BRA"]
        } else {
            &["DE", "FR", "US", "JP", "BR"]
        })
        .to_owned()
    } else if has(&["lang", "locale"]) {
        draw.pick(&["en", "de", "fr", "ja", "pt"]).to_owned()
    } else if has(&["time_zone", "timezone", "tz"]) {
        "Europe/Berlin".to_owned()
    } else if has(&["colo"]) && has(&["color", "colour"]) {
        format!("#{:06x}", draw.below(1 << 24))
    } else if has(&["zip", "postal", "postcode"]) {
        format!("{:05}", draw.below(100_000))
    } else if has(&["hash", "token", "secret", "digest", "checksum", "password", "fingerprint"]) {
        let length = most.min(64);
        (0..length).map(|_| char::from_digit(draw.below(16) as u32, 16).unwrap_or('0')).collect()
    } else if has(&["code", "sku", "ref", "number", "slug", "key"]) {
        format!("{}-{}", draw.pick(words::WORD), draw.below(10_000))
    } else if has(&["name", "title", "label", "subject"]) {
        match has(&["full", "person", "contact", "customer", "author", "owner"]) {
            true => format!("{} {}", draw.pick(words::GIVEN), draw.pick(words::FAMILY)),
            false => format!("{} {}", draw.pick(words::COMPANY), draw.pick(words::WORD)),
        }
    } else if most <= 20 {
        draw.pick(words::WORD).to_owned()
    } else {
        let count = 3 + draw.below(8);
        let words: Vec<&str> = (0..count).map(|_| draw.pick(words::WORD)).collect();
        words.join(" ")
    }
}
