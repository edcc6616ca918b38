//! cache-8: a million envelopes, damaged, cut, or of another key or schema. The CI size is the full size.
//!
//! It fails without the comparison of the checksum in `Envelope::decode`, and without that of the
//! fingerprint.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use db_cache::{Codec, EntryKey, Envelope, Generation, Random, Slot, Stamps, TierTime, Unreadable};
use db_testkit::claims::{Figure, Size};
use serde_json::json;

const ENVELOPES: u64 = 1_000_000;
const FINGERPRINT: u64 = 7;

pub(crate) fn measure(_: Size) -> Figure {
    let random = Random::seeded(8);
    let (mut wrong, mut panics) = (0_u64, 0_u64);
    let mut told = [0_u64; 3];
    for number in 0..ENVELOPES {
        let key = EntryKey::from_bytes(number.to_le_bytes().to_vec());
        let whole = envelope(&random);
        let codec = if number % 2 == 0 { Codec::Postcard } else { Codec::MessagePack };
        let mut bytes = whole.encode(&key, codec, FINGERPRINT, number % 3 == 0).unwrap();
        let (key, fingerprint) = match random.next_u64() % 6 {
            0 => (EntryKey::from_bytes((number + 1).to_le_bytes().to_vec()), FINGERPRINT),
            1 => (key, FINGERPRINT + 1),
            _ => {
                damage(&mut bytes, &random);
                (key, FINGERPRINT)
            }
        };
        match catch_unwind(AssertUnwindSafe(|| Envelope::decode(&bytes, &key, codec, fingerprint))) {
            Err(_) => panics += 1,
            Ok(Ok(_)) => wrong += 1,
            Ok(Err(Unreadable::Damaged)) => told[0] += 1,
            Ok(Err(Unreadable::OtherKey)) => told[1] += 1,
            Ok(Err(Unreadable::OtherSchema)) => told[2] += 1,
        }
    }
    Figure {
        value: (wrong + panics) as f64,
        unit: "wrong values and panics",
        holds: wrong == 0 && panics == 0 && told.iter().all(|kind| *kind > 0),
        detail: json!({
            "envelopes": ENVELOPES, "wrong": wrong, "panics": panics,
            "damaged": told[0], "other_key": told[1], "other_schema": told[2],
        }),
    }
}

fn envelope(random: &Random) -> Envelope {
    let length =
        (random.next_u64() % if random.next_u64().is_multiple_of(64) { 8_192 } else { 200 }) as usize;
    let letter = random.next_u64() as u8;
    let slots =
        (0..random.next_u64() % 4).map(|slot| (Slot::new(slot as u32).unwrap(), Generation::fresh(random)));
    Envelope {
        stamps: Stamps { epoch: Generation::fresh(random), slots: slots.collect() },
        fresh_until: TierTime(random.next_u64()),
        stale_until: TierTime(random.next_u64()),
        cost: Duration::from_micros(random.next_u64() % 1_000),
        payload: (!random.next_u64().is_multiple_of(8)).then(|| vec![letter; length]),
    }
}

/// Flips bits, cuts, lengthens, or replaces everything.
fn damage(bytes: &mut Vec<u8>, random: &Random) {
    let at = (random.next_u64() % bytes.len() as u64) as usize;
    match random.next_u64() % 5 {
        0 => bytes.truncate(at),
        1 => bytes.push(random.next_u64() as u8),
        2 => bytes.iter_mut().for_each(|byte| *byte = random.next_u64() as u8),
        3 => bytes[at..].iter_mut().for_each(|byte| *byte ^= 0x55),
        _ => bytes[at] ^= 1 << (random.next_u64() % 8),
    }
}
