//! Random texts: bytes, tokens, and real statements that were mutated.

use std::panic::catch_unwind;
use std::path::Path;

use db_statement::{LONGEST_SUMMARY, fingerprint, normalize, summary, touched};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::read::{DIFFERENT, EQUAL, blocks};
use crate::{Figure, Size};

/// What statements are made of.
const PIECES: &str = "' '' \" \"\" \\ E' U&' U&\" UESCAPE B' X' N' $ $$ $a$ $1 -- /* */ ; ( ) [ ] , . .. : :: := => = - + * < > ! ? \
     a b \"A\" é 漢 0 1 1.5 1e 0x 1_0 _ select from where join on using in values array with recursive as materialized not \
     insert into update set delete merge when matched then copy to truncate lock table create view drop alter if exists \
     cascade explain analyze prepare declare cursor for execute call do only lateral rows union all distinct order by group \
     limit offset returning conflict null true default case end operator extract f lower pg_catalog portion of partition";

/// A name of 80 bytes, which the server would cut within a letter.
const LONG_NAME: &str = "éééééééééééééééééééééééééééééééééééééééé";

// Fails without the line `end -= 1;` in table.rs, with its loop: a long name would be cut within a letter.
pub(crate) fn measure(size: Size) -> Figure {
    let inputs = if size == Size::Nightly { 1_000_000 } else { 100_000 };
    let mut random = StdRng::seed_from_u64(7);
    let (pieces, real) = (PIECES.split_whitespace().chain([LONG_NAME]).collect::<Vec<_>>(), statements());
    let (mut panics, mut wrong, mut bytes) = (Vec::new(), Vec::new(), 0);
    std::panic::set_hook(Box::new(|_| ()));
    for index in 0..inputs {
        let text = match index % 3 {
            0 => lossy(&mut random),
            1 => soup(&mut random, &pieces),
            _ => mutated(&mut random, &real, &pieces),
        };
        bytes += text.len();
        match catch_unwind(|| is_right(&text)) {
            Ok(true) => {}
            Ok(false) => wrong.push(text),
            Err(_) => panics.push(text),
        }
    }
    let _ = std::panic::take_hook();
    let count = panics.len() + wrong.len();
    panics.truncate(3);
    wrong.truncate(3);
    Figure {
        value: count as f64,
        unit: "panics and wrong fingerprints",
        holds: count == 0 && real.len() > 300,
        detail: json!({
            "inputs": inputs,
            "bytes": bytes,
            "real_statements": real.len(),
            "panics": panics,
            "wrong": wrong,
        }),
    }
}

/// Whether everything that is promised of any text holds.
fn is_right(text: &str) -> bool {
    let normal = normalize(text);
    let touched = touched(text);
    let fnv = normal.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    fingerprint(text).get() == fnv
        && summary(text).as_str().len() <= LONGEST_SUMMARY
        && normal.len() <= 2 * text.len() + 8
        && touched.reads.is_sorted()
        && touched.writes.is_sorted()
}

fn lossy(random: &mut StdRng) -> String {
    let length = random.random_range(0..200);
    let bytes: Vec<u8> = (0..length)
        .map(|_| match random.random_range(0..3) {
            0 => random.random::<u8>(),
            _ => random.random_range(b' '..=b'~'),
        })
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn soup(random: &mut StdRng, pieces: &[&str]) -> String {
    let mut text = String::new();
    for _ in 0..random.random_range(0..60) {
        text.push_str(pieces[random.random_range(0..pieces.len())]);
        text.push_str(["", " ", "\n"][random.random_range(0..3)]);
    }
    text
}

/// A real statement, some of whose parts are gone, doubled, or something else.
fn mutated(random: &mut StdRng, real: &[String], pieces: &[&str]) -> String {
    let mut text = real[random.random_range(0..real.len())].clone();
    for _ in 0..random.random_range(0..6) {
        let mut place = || {
            let mut at = random.random_range(0..=text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let (one, other) = (place(), place());
        let (from, to) = (one.min(other), one.max(other).min(one.min(other) + 40));
        let to = (from..=to).rev().find(|at| text.is_char_boundary(*at)).unwrap();
        match random.random_range(0..4) {
            0 => text.replace_range(from..to, ""),
            1 => {
                let part = text[from..to].to_owned();
                text.insert_str(from, &part);
            }
            2 => text.truncate(from),
            _ => text.insert_str(from, pieces[random.random_range(0..pieces.len())]),
        }
    }
    text
}

/// The migrations, statement by statement as far as semicolons tell, the demo's queries, and the corpora.
fn statements() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut texts: Vec<String> = blocks(EQUAL).into_iter().chain(blocks(DIFFERENT)).flatten().collect();
    for migration in std::fs::read_dir(root.join("migrations")).unwrap().map_while(Result::ok) {
        for file in ["up.sql", "down.sql"] {
            let Ok(text) = std::fs::read_to_string(migration.path().join(file)) else { continue };
            texts.extend(text.split_inclusive(';').map(str::to_owned));
        }
    }
    let demo = std::fs::read_to_string(root.join("crates/db-platform/examples/demo/queries.rs")).unwrap();
    texts.extend(demo.split('"').filter(|part| part.contains("SELECT")).map(str::to_owned));
    texts
}
