//! The keys that foreign keys may refer to.

use std::collections::HashMap;

use crate::draw::Draw;

/// A key: the values of its columns.
pub(crate) type Key = Vec<String>;

/// The keys of a table, found by some of their columns where those are given already.
#[derive(Debug, Default)]
pub(crate) struct Parents {
    keys: Vec<Key>,
    /// For each set of columns: from their values to places in `keys`.
    by_part: HashMap<Vec<usize>, HashMap<Key, Vec<usize>>>,
}

impl Parents {
    pub(crate) fn new(keys: Vec<Key>) -> Self {
        Parents { keys, by_part: HashMap::new() }
    }

    pub(crate) fn len(&self) -> u64 {
        self.keys.len() as u64
    }

    pub(crate) fn at(&self, place: u64) -> Option<&Key> {
        self.keys.get(usize::try_from(place).ok()?)
    }

    /// Adds a key: of a row that later rows of the same table may refer to.
    pub(crate) fn push(&mut self, key: Key) {
        for (part, places) in &mut self.by_part {
            let part = part.iter().map(|column| key[*column].clone()).collect();
            places.entry(part).or_default().push(self.keys.len());
        }
        self.keys.push(key);
    }

    /// Keeps the keys for which this is true.
    pub(crate) fn retain(&mut self, keep: impl FnMut(&Key) -> bool) {
        self.keys.retain(keep);
        self.by_part.clear();
    }

    /// All keys.
    pub(crate) fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Draws a key that has these values: one for each column, `None` for any.
    #[cfg(test)]
    pub(crate) fn draw(&mut self, given: &[Option<String>], draw: &mut Draw) -> Option<&Key> {
        let at = *self.some(given, 1, false, draw).first()?;
        self.keys.get(at)
    }

    /// Draws the places of some keys that have these values: one for each column, `None` for any. Crowded
    /// ones are mostly the first: rows that refer to the same few agree more often in what else they share.
    pub(crate) fn some(
        &mut self,
        given: &[Option<String>],
        most: usize,
        crowded: bool,
        draw: &mut Draw,
    ) -> Vec<usize> {
        let power = if crowded { 4 } else { 1 };
        let part: Vec<usize> = (0..given.len()).filter(|column| given[*column].is_some()).collect();
        let mut drawn = Vec::new();
        if part.is_empty() {
            for _ in 0..most {
                let at = draw.skewed_below(self.len(), power) as usize;
                if at < self.keys.len() && !drawn.contains(&at) {
                    drawn.push(at);
                }
            }
            return drawn;
        }
        let keys = &self.keys;
        let places = self.by_part.entry(part.clone()).or_insert_with(|| {
            let mut places: HashMap<Key, Vec<usize>> = HashMap::new();
            for (at, key) in keys.iter().enumerate() {
                let part = part.iter().map(|column| key[*column].clone()).collect();
                places.entry(part).or_default().push(at);
            }
            places
        });
        let wanted: Key = given.iter().flatten().cloned().collect();
        let Some(fitting) = places.get(&wanted) else { return drawn };
        for _ in 0..most.min(fitting.len() * 2) {
            let at = fitting[draw.skewed_below(fitting.len() as u64, power) as usize];
            if !drawn.contains(&at) {
                drawn.push(at);
            }
        }
        drawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_agrees_with_the_columns_that_are_given() {
        let key = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
        let mut parents = Parents::new(vec![key("t1", "1"), key("t1", "2"), key("t2", "3")]);
        let mut draw = Draw::new(1, 1);
        let given = [Some("t2".to_owned()), None];
        assert_eq!(parents.draw(&given, &mut draw), Some(&key("t2", "3")));
        assert_eq!(parents.draw(&[Some("t3".to_owned()), None], &mut draw), None);
        parents.push(key("t3", "4"));
        assert_eq!(parents.draw(&[Some("t3".to_owned()), None], &mut draw), Some(&key("t3", "4")));
        assert_eq!(Parents::default().draw(&[None], &mut draw), None);
    }
}
