//! Every kind of store passes the one suite: a directory, S3 (moto), Azure (azurite), Google Cloud Storage (a
//! stub).

use db_backup::{Store, conformance};

use crate::emulators;

#[tokio::test]
async fn a_local_directory_conforms() {
    let directory = tempfile::tempdir().unwrap();
    conformance::conforms(&Store::local(directory.path()).unwrap()).await.unwrap();
}

#[tokio::test]
async fn google_cloud_storage_conforms() {
    let (_stub, place) = emulators::gcs().await;
    conformance::conforms(&emulators::store_at(&place)).await.unwrap();
}

#[tokio::test]
async fn s3_conforms() {
    let Some((_emulator, place)) = emulators::s3().await else {
        return db_testkit::skip::this_test("there is no moto_server: pip install 'moto[server,s3]'");
    };
    conformance::conforms(&emulators::store_at(&place)).await.unwrap();
}

#[tokio::test]
async fn azure_conforms() {
    let Some((_emulator, place)) = emulators::azure().await else {
        return db_testkit::skip::this_test("there is no azurite-blob: npm install --global azurite");
    };
    conformance::conforms(&emulators::store_at(&place)).await.unwrap();
}
