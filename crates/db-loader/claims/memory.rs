//! loader-3: what millions of loads leave behind. At CI size 2,000,000 loads, at full size 10,000,000.

use db_core::Error;
use db_loader::{Found, Loader};
use db_testkit::claims::{Figure, Size};
use db_testkit::poll_times;
use futures_util::future::join_all;
use serde_json::json;

const BATCH: u64 = 100;
const CANCELLED: u64 = 10;
const MOST_MIB: f64 = 1.0;

/// The line whose removal this must notice: `state.flights.remove(key);` in `settle` of `queue.rs`.
pub(crate) fn measure(size: Size) -> Figure {
    let loads: u64 = if size == Size::Nightly { 10_000_000 } else { 2_000_000 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tenths = runtime.block_on(async {
        let loader = Loader::new("mixed", |keys: Vec<u64>| async move {
            // Now and then a whole batch fails.
            if keys[0].is_multiple_of(50 * BATCH) {
                return Err(Error::NotFound);
            }
            let mut found = Found::new();
            for key in keys {
                match key % 10 {
                    0 => {}
                    1 => found.insert_error(key, Error::NotFound),
                    _ => found.insert(key, key.to_string()),
                }
            }
            Ok(found)
        });
        let mut tenths = Vec::new();
        let (mut key, mut done) = (0_u64, 0);
        while done < loads {
            // Two thirds without a memo, one third in a scope that ends with them.
            let of = if key.is_multiple_of(3 * BATCH) { loader.scope() } else { loader.clone() };
            let answers = join_all((key..key + BATCH).map(|key| of.get(key))).await;
            assert_eq!(answers.len() as u64, BATCH);
            for cancelled in key + BATCH..key + BATCH + CANCELLED {
                poll_times(of.get(cancelled), 1).await.unwrap();
            }
            key += BATCH;
            done += BATCH + CANCELLED;
            if done * 10 / loads > tenths.len() as u64 {
                tenths.push(resident_mib());
            }
        }
        let counts = loader.counts();
        assert!(counts.failed > 0 && counts.missing > 0 && counts.abandoned > 0, "{counts:?}");
        tenths
    });
    let growth = tenths[tenths.len() - 1] - tenths[0];
    Figure {
        value: growth,
        unit: "MiB more at the end",
        holds: growth <= MOST_MIB,
        detail: json!({ "loads": loads, "resident_mib_by_tenth": tenths }),
    }
}

/// The memory of this process that is in use.
fn resident_mib() -> f64 {
    let pages: u64 =
        std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    (pages * rustix::param::page_size() as u64) as f64 / f64::from(1 << 20)
}
