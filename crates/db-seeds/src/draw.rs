//! Random numbers that are a pure function of seed, table, column and row.
//!
//! There is no generator that is advanced from row to row: each cell has its own short stream, so that any
//! cell can be computed alone. That is how a foreign key is known without looking up the row it points at.
//! The arithmetic is splitmix64 (public domain, Steele, Lea and Flood 2014) and IEEE multiplication only: no
//! `powf` or `ln`, whose last bit differs between platforms. The same seed gives the same bytes everywhere,
//! and no upgrade of a dependency can change them.

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The stream of one cell.
#[derive(Debug, Clone)]
pub(crate) struct Draw(u64);

/// A number that stands for a name under a seed.
pub(crate) fn key(seed: u64, name: &str) -> u64 {
    let mut hash = mix(seed ^ GOLDEN);
    for byte in name.bytes() {
        hash = mix(hash ^ u64::from(byte));
    }
    // The length parts "ab" + "c" from "a" + "bc" where keys are chained.
    mix(hash ^ name.len() as u64)
}

impl Draw {
    pub(crate) fn new(key: u64, row: u64) -> Self {
        Draw(mix(key ^ mix(row.wrapping_add(GOLDEN))))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A number in `0..n` (0 where `n` is 0).
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// A number in `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// A number in `[0, 1)` that crowds towards 0: 1 is uniform, 2 and 3 are more and more skewed.
    pub(crate) fn skewed(&mut self, power: u32) -> f64 {
        let unit = self.unit();
        (0..power).fold(1.0, |product, _| product * unit)
    }

    /// A number in `0..n` of which the small ones come more often.
    pub(crate) fn skewed_below(&mut self, n: u64, power: u32) -> u64 {
        if power <= 1 {
            return self.below(n);
        }
        ((self.skewed(power) * n as f64) as u64).min(n.saturating_sub(1))
    }

    pub(crate) fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list.get(self.below(list.len() as u64) as usize).copied().unwrap_or_default()
    }

    pub(crate) fn uuid(&mut self) -> uuid::Uuid {
        let (high, low) = (u128::from(self.next()), u128::from(self.next()));
        uuid::Builder::from_random_bytes((high << 64 | low).to_be_bytes()).into_uuid()
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_the_same_on_every_machine_and_in_every_version() {
        let mut draw = Draw::new(key(42, "events"), 7);
        let pinned = [draw.next(), draw.below(1000), draw.skewed_below(1000, 3)];
        assert_eq!(pinned, [15_262_888_892_640_977_050, 106, 0]);
        assert_eq!(draw.uuid().to_string(), "d255443c-06ed-4b9c-b5a5-9d5ae3e6e390");
    }

    #[test]
    fn numbers_stay_below_their_bound() {
        let mut draw = Draw::new(1, 1);
        for n in [1, 2, 3, 10, 1_000_000] {
            for _ in 0..200 {
                assert!(draw.below(n) < n);
                assert!(draw.skewed_below(n, 4) < n);
            }
        }
    }

    #[test]
    fn skew_crowds_towards_the_first() {
        let mut draw = Draw::new(1, 2);
        let first_tenth = (0..10_000).filter(|_| draw.skewed_below(1000, 3) < 100).count();
        // 0.1 to the power of 1/3 is 0.46.
        assert!((4_400..4_900).contains(&first_tenth), "{first_tenth}");
    }
}
