//! backup-8: every kind of store passes the one suite, and a server is backed up to it and restored from it.
//!
//! It fails where a delete of what is gone is an error, which half of them make of it.

use std::path::PathBuf;

use db_backup::restore::Target;
use db_backup::take::take;
use db_backup::{VerifyOptions, conformance};
use db_testkit::claims::{Figure, Size};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::json;

use crate::emulators::{self, store_at};
use crate::ledger::{ANSWER, create, expected, write};
use crate::live::{Live, home};

pub(crate) fn measure(_: Size) -> Figure {
    crate::runtime().block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let (_stub, gcs) = emulators::gcs().await;
        let (s3, azure) = (emulators::s3().await, emulators::azure().await);
        let places = [
            ("local", Some(directory.path().to_str().unwrap().to_owned())),
            ("gcs", Some(gcs)),
            ("s3", s3.as_ref().map(|(_, place)| place.clone())),
            ("azure", azure.as_ref().map(|(_, place)| place.clone())),
        ];
        let (mut passed, mut failed) = (Vec::new(), Vec::new());
        for (kind, place) in places {
            let Some(place) = place else {
                failed.push(format!("{kind}: its emulator is not on PATH"));
                continue;
            };
            match conforms(&place).await {
                Ok(()) => passed.push(kind),
                Err(error) => failed.push(format!("{kind}: {error}")),
            }
            eprintln!("backup-8: {kind}, {} passed", passed.len());
        }
        Figure {
            value: passed.len() as f64,
            unit: "kinds of store",
            holds: passed.len() == 4,
            detail: json!({ "passed": passed, "failed": failed, "needs": "moto_server and azurite-blob on PATH" }),
        }
    })
}

/// The suite, then a backup of a server, its log, verification and two points in time.
async fn conforms(place: &str) -> Result<(), String> {
    let store = store_at(place);
    // What does not conform panics: that is a figure, too.
    let suite =
        tokio::spawn(async move { conformance::conforms(&store).await.map_err(|error| error.to_string()) });
    suite.await.map_err(|error| error.to_string())??;
    let home = home();
    // Not in the suite's own repository, and where it is a directory, in one that the server's account may
    // write to.
    let place = match place.contains('+') {
        true => PathBuf::from(format!("{place},server")),
        false => home.path().join("store"),
    };
    let live = Live::start_at(home, place, None, &[], 0).await;
    create(&live).await;
    let taken = take(&live.repository, &live.config(), &|_| ()).await;
    taken.map_err(|error| error.to_string())?;
    let commits = write(&live, 1..9, &mut StdRng::seed_from_u64(8)).await;
    live.archive().await;
    let verdict = live.cluster().await.verify(VerifyOptions::default()).await;
    let verdict = verdict.map_err(|error| error.to_string())?;
    if !verdict.holds() || verdict.objects == 0 {
        return Err(format!("verification: {verdict:?}"));
    }
    for (name, target, number) in
        [("point", commits[4].targets[0].clone(), commits[4].number), ("end", Target::Latest, 8)]
    {
        let restored = live.restored(&live.restore_to(name, target)).await;
        let mut restored = restored.map_err(|error| error.to_string())?;
        restored.ready()?;
        let found = restored.psql(ANSWER);
        if found != expected(number) {
            return Err(format!("{name}: {found} instead of {}", expected(number)));
        }
    }
    Ok(())
}
