//! Opens the kinds of store: a local directory, and those that a feature brings.

use std::path::Path;
use std::sync::Arc;

use object_store::local::LocalFileSystem;

use super::Store;
use crate::error::{BackupError, Result};
use crate::settings::{Provider, StoreSettings};

pub(super) fn local(directory: &Path) -> Result<Store> {
    let shown = directory.display();
    let made = |source| BackupError::io(format!("making the directory {shown}"), source);
    std::fs::create_dir_all(directory).map_err(made)?;
    let store = LocalFileSystem::new_with_prefix(directory)
        .map_err(|error| made(std::io::Error::other(error)))?
        .with_fsync(true);
    Store::new(Arc::new(store), "", format!("file://{shown}"))
}

impl Store {
    /// The store that the settings name.
    ///
    /// # Errors
    /// A setting is missing, or the store's kind was not compiled in.
    pub fn open(settings: &StoreSettings) -> Result<Self> {
        let store = match &settings.provider {
            Provider::Local => local(&settings.directory)?,
            Provider::S3 => s3(settings)?,
            Provider::Gcs => gcs(settings)?,
            Provider::Azure => azure(settings)?,
        };
        Ok(store.with_limits(settings.limits))
    }
}

#[cfg(feature = "http-store")]
fn cloud(
    store: object_store::Result<impl object_store::ObjectStore>,
    scheme: &str,
    settings: &StoreSettings,
) -> Result<Store> {
    let store = store.map_err(|error| BackupError::Unsuitable {
        what: format!("{scheme}: {error}"),
        way_out: "see docs/backup.md for the settings of each kind of store",
    })?;
    Store::new(Arc::new(store), &settings.prefix, format!("{scheme}://{}", settings.bucket))
}

/// An option of the client, by its name.
#[cfg(feature = "http-store")]
fn key<K: std::str::FromStr>(name: &str) -> Result<K> {
    name.to_ascii_lowercase().parse().map_err(|_| BackupError::Unsuitable {
        what: format!("its client knows no option {name}"),
        way_out: "write it as object_store does, such as aws_access_key_id",
    })
}

/// Our own retries have the deadline, so the client library's only bridge a lost connection.
#[cfg(feature = "http-store")]
fn retries() -> object_store::RetryConfig {
    object_store::RetryConfig { max_retries: 1, ..object_store::RetryConfig::default() }
}

/// TLS by ring, which the whole workspace uses. A provider that the program has installed stays.
#[cfg(feature = "http-store")]
fn client(settings: &StoreSettings) -> object_store::ClientOptions {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody else may have been faster, and theirs is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    object_store::ClientOptions::new()
        .with_timeout(settings.limits.attempt)
        .with_allow_http(settings.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://")))
}

#[cfg(feature = "s3")]
fn s3(settings: &StoreSettings) -> Result<Store> {
    use object_store::aws::{AmazonS3Builder, S3ConditionalPut};

    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(&settings.bucket)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_client_options(client(settings))
        .with_retry(retries());
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    for (name, value) in &settings.options {
        builder = builder.with_config(key(name)?, value);
    }
    cloud(builder.build(), "s3", settings)
}

#[cfg(feature = "gcs")]
fn gcs(settings: &StoreSettings) -> Result<Store> {
    let mut builder = object_store::gcp::GoogleCloudStorageBuilder::from_env()
        .with_bucket_name(&settings.bucket)
        .with_client_options(client(settings))
        .with_retry(retries());
    if let Some(endpoint) = &settings.endpoint {
        // An endpoint of one's own is an emulator's, which asks for no credentials.
        let account = serde_json::json!({
            "gcs_base_url": endpoint, "disable_oauth": true, "client_email": "", "private_key": "", "private_key_id": ""
        });
        builder = builder.with_service_account_key(account.to_string());
    }
    for (name, value) in &settings.options {
        builder = builder.with_config(key(name)?, value);
    }
    cloud(builder.build(), "gs", settings)
}

#[cfg(feature = "azure")]
fn azure(settings: &StoreSettings) -> Result<Store> {
    let mut builder = object_store::azure::MicrosoftAzureBuilder::from_env()
        .with_container_name(&settings.bucket)
        .with_client_options(client(settings))
        .with_retry(retries());
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    for (name, value) in &settings.options {
        builder = builder.with_config(key(name)?, value);
    }
    cloud(builder.build(), "az", settings)
}

#[cfg(not(feature = "s3"))]
fn s3(_: &StoreSettings) -> Result<Store> {
    Err(not_compiled_in("S3", "build with the feature s3 of db-backup"))
}

#[cfg(not(feature = "gcs"))]
fn gcs(_: &StoreSettings) -> Result<Store> {
    Err(not_compiled_in("Google Cloud Storage", "build with the feature gcs of db-backup"))
}

#[cfg(not(feature = "azure"))]
fn azure(_: &StoreSettings) -> Result<Store> {
    Err(not_compiled_in("Azure Blob", "build with the feature azure of db-backup"))
}

#[cfg(not(all(feature = "s3", feature = "gcs", feature = "azure")))]
fn not_compiled_in(what: &str, way_out: &'static str) -> BackupError {
    BackupError::Unsuitable { what: format!("{what} was not compiled in"), way_out }
}
