//! backup-8: every kind of store passes the one suite.
//!
//! It fails where a delete of what is gone is an error, which half of them make of it.

use db_backup::{Store, conformance};
use db_testkit::claims::{Figure, Size};
use serde_json::json;

use crate::emulators;

pub(crate) fn measure(_: Size) -> Figure {
    crate::runtime().block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let mut passed = vec!["local"];
        conformance::conforms(&Store::local(directory.path()).unwrap()).await.unwrap();
        let (_stub, store) = emulators::gcs().await;
        conformance::conforms(&store).await.unwrap();
        passed.push("gcs");
        if let Some((_emulator, store)) = emulators::s3().await {
            conformance::conforms(&store).await.unwrap();
            passed.push("s3");
        }
        if let Some((_emulator, store)) = emulators::azure().await {
            conformance::conforms(&store).await.unwrap();
            passed.push("azure");
        }
        Figure {
            value: passed.len() as f64,
            unit: "kinds of store",
            holds: passed.len() == 4,
            detail: json!({ "passed": passed, "needs": "moto_server and azurite-blob on PATH" }),
        }
    })
}
