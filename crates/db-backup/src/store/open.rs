//! Opens the kinds of store: a local directory, and those that a feature brings.

use std::path::Path;
use std::sync::Arc;

use chrono::TimeDelta;
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
    let mut store = Store::new(Arc::new(store), "", format!("file://{shown}"))?;
    store.local = Some(directory.into());
    Ok(store)
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
        let lock = TimeDelta::try_days(i64::from(settings.object_lock_days)).unwrap_or(TimeDelta::MAX);
        Ok(store.with_limits(settings.limits).with_object_lock(lock))
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
    use object_store::aws::{AmazonS3Builder, Checksum, S3ConditionalPut};
    use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

    let mut client = client(settings);
    if settings.object_lock_days > 0 {
        // S3 takes no object into a bucket with a lock that does not say how its checksum is made.
        let name = HeaderName::from_static("x-amz-sdk-checksum-algorithm");
        let headers = HeaderMap::from_iter([(name, HeaderValue::from_static("SHA256"))]);
        client = client.with_default_headers(headers);
    }
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(&settings.bucket)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_client_options(client)
        .with_retry(retries());
    if settings.object_lock_days > 0 {
        builder = builder.with_checksum_algorithm(Checksum::SHA256);
    }
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

#[cfg(all(test, feature = "s3", feature = "gcs", feature = "azure"))]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn settings(provider: Provider) -> StoreSettings {
        let options = [("azure_storage_account_name", "account"), ("azure_storage_account_key", "a2V5")];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
        StoreSettings {
            provider,
            bucket: "backups".to_owned(),
            endpoint: Some("https://localhost:1".to_owned()),
            options: if provider == Provider::Azure { BTreeMap::from(options) } else { BTreeMap::new() },
            ..StoreSettings::default()
        }
    }

    #[test]
    fn tls_stays_with_ring_although_aws_lc_seals_backups() {
        for provider in [Provider::S3, Provider::Gcs, Provider::Azure] {
            Store::open(&settings(provider)).unwrap();
        }
        let chosen = rustls::crypto::CryptoProvider::get_default().unwrap();
        let ring = rustls::crypto::ring::default_provider();
        // aws-lc brings a group that ring does not have.
        let groups = |provider: &rustls::crypto::CryptoProvider| {
            provider.kx_groups.iter().map(|group| group.name()).collect::<Vec<_>>()
        };
        assert_eq!(groups(chosen), groups(&ring));
        // Panics where the process has two providers and none was chosen.
        let roots = rustls::RootCertStore::empty();
        rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    }

    #[test]
    fn an_option_that_no_client_knows_is_told_and_no_value_shows() {
        let mut settings = settings(Provider::S3);
        settings.options.insert("aws_secret_acces_key".to_owned(), "hunter2".to_owned());
        let error = Store::open(&settings).unwrap_err().to_string();
        assert!(error.contains("aws_secret_acces_key") && !error.contains("hunter2"), "{error}");
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
