//! Reads of several keys at once: what one key comes to must be what it comes to alone.

use std::sync::Arc;

use super::checker::Violation;
use super::world::{PAIRS, ROWS, Unwell, Versions, World};
use crate::error::CacheError;
use crate::load::LoadFrom;
use crate::loaded_many::LoadedMany;
use crate::mode::Mode;

/// Two rows, as a key names them.
type Pair = (u32, u32);

impl World {
    /// What a read of a key returns that is asked for together with others; none where it failed.
    pub(super) async fn get_among_others(&self, process: usize, pair: Pair, mode: Mode) -> Option<Versions> {
        let other = || (self.below(ROWS) as u32, self.below(ROWS) as u32);
        let keys = PAIRS.keys([pair, other(), other()]).mode(mode);
        let database = Arc::clone(&self.database);
        let fails = self.chance(0.3);
        let load = move |from: LoadFrom, pairs: Vec<Pair>| {
            let database = Arc::clone(&database);
            let fails = fails && database.is_unwell();
            async move {
                if fails {
                    return Err(Unwell);
                }
                let rows: Vec<u32> = pairs.iter().flat_map(|(one, two)| [*one, *two]).collect();
                let (versions, read_at) = database.read(from, &rows).await;
                let read: Vec<(u32, u64)> = rows.into_iter().zip(versions).collect();
                let values = pairs.into_iter().zip(read.chunks(2).map(<[_]>::to_vec));
                Ok(LoadedMany::new(values, read_at))
            }
        };
        let mut answers = self.cache(process).get_many_with(&keys, load).await;
        match answers.remove(&pair)? {
            Ok(versions) => versions.map(|versions| Versions::clone(&versions)),
            // The database was told to be unwell; a caller may share the load of another.
            Err(CacheError::Load(_)) => None,
            Err(error) => {
                self.log().violations.push(Violation::Failed(format!("{error:?}")));
                None
            }
        }
    }
}
