//! backup-1b: a full backup against `pg_dump | gzip`, the script that it replaces.
//!
//! It fails where the server is not asked for its checkpoint at once.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::json;

use crate::live::Live;
use crate::speed::{Times, ours};
use crate::{Figure, Size, runtime};

pub(crate) fn measure(size: Size) -> Figure {
    let pairs = if size == Size::Nightly { 15 } else { 3 };
    runtime().block_on(async {
        let live = Live::start(None, &[("archive_command", "true"), ("max_wal_size", "8GB")]).await;
        let bytes = crate::speed::fill(&live, 1_100_000).await;
        let mut times = Times::default();
        for pair in 0..pairs {
            // A server in use has pages that are not written yet: a backup that spreads its checkpoint waits
            // for hours.
            live.run(&format!("UPDATE events SET hash = md5(hash) WHERE id % 20000 = {pair}")).await;
            times.ours.push(ours(&live, "take-included", &live.server.primary_url()).0);
            times.theirs.push(dump(&live));
            eprintln!("backup-1b: pair {} of {pairs}: {times:?}", pair + 1);
        }
        let ratio = times.ratio();
        Figure {
            value: ratio,
            unit: "times the time of pg_dump | gzip",
            holds: ratio <= 0.20,
            detail: json!({ "database_bytes": bytes, "pairs": pairs, "seconds": [times.ours, times.theirs] }),
        }
    })
}

/// The seconds of the script. The failure of either of the two is one of it, which is more than most of them
/// have.
fn dump(live: &Live) -> f64 {
    let programs = db_server::find(None, &|_| ()).unwrap().bin;
    let out = File::create(live.home.path().join("dump.gz")).unwrap();
    let began = Instant::now();
    let mut pg_dump = Command::new(programs.join("pg_dump"));
    let mut pg_dump = pg_dump.arg(live.server.primary_url()).stdout(Stdio::piped()).spawn().unwrap();
    let gzip = Command::new("gzip").stdin(pg_dump.stdout.take().unwrap()).stdout(out).status().unwrap();
    assert!(pg_dump.wait().unwrap().success() && gzip.success(), "pg_dump | gzip failed");
    began.elapsed().as_secs_f64()
}
