//! `dbctl migrate check` and `dbctl migrate lint`.

use std::path::Path;
use std::process::ExitCode;

use db_platform::core::Connect as _;
use db_platform::migrations::check::{self, CheckConfig, CheckReport, Databases, FileFinding};
use db_platform::migrations::{Migrations, Stats};
use db_platform::pool::{ConnectConfig, Connector};
use db_platform::{DatabaseUrl, Result};
use db_server::{Cluster, ServerSettings};
use diesel_async::AsyncPgConnection;
use indicatif::{ProgressBar, ProgressStyle};

use crate::FOUND;
use crate::args::Options;
use crate::connect;
use crate::error::CliError;
use crate::migrate_args::{Check, Format, Lint};
use crate::say;

pub(crate) async fn run(command: Check, options: &Options) -> Result<ExitCode, CliError> {
    let migrations = Migrations::read(&command.source.dir)?;
    let seed = command.seed.map(|file| std::fs::read_to_string(&file).map_err(CliError::file(&file)));
    let config = CheckConfig {
        only: command.only.iter().map(|version| version.replace('-', "")).collect(),
        seed: seed.transpose()?,
        stats: command.stats.as_deref().map(sizes).transpose()?,
        start_after: command.start_after.map(|version| version.replace('-', "")),
        ..CheckConfig::default()
    };
    let server = match (&options.url_file, &options.database_url) {
        (None, None) => Server::throw_away(command.pg).await?,
        _ => Server { url: connect::config(options)?.direct_url, _cluster: None },
    };
    let bar = bar(migrations.iter().count());
    let report = check::check(&server, &migrations, &config, |one| {
        bar.set_message(one.name.clone());
        bar.inc(1);
    })
    .await;
    bar.finish_and_clear();
    let report = report?;
    // Its fields are strings and numbers, which cannot fail to become JSON.
    let value = serde_json::to_value(&report).unwrap_or_default();
    say::result(options.json, &text(&report, command.format), &value);
    Ok(if report.summary.passes { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

fn sizes(file: &Path) -> std::result::Result<Stats, CliError> {
    let text = std::fs::read_to_string(file).map_err(CliError::file(file))?;
    serde_json::from_str(&text).map_err(|source| CliError::Stats { path: file.to_owned(), source })
}

/// The server that the check makes its databases on.
struct Server {
    url: DatabaseUrl,
    /// Ended with the check, where it is ours.
    _cluster: Option<Cluster>,
}

impl Server {
    async fn throw_away(major: Option<u16>) -> Result<Self, CliError> {
        let start = move || {
            let progress = |line: &str| eprintln!("{line}");
            let install = db_server::find(major, &progress)?;
            Cluster::builder(install).settings(ServerSettings::fast()).start()
        };
        let cluster = tokio::task::spawn_blocking(start).await.map_err(|_| CliError::Interrupted)??;
        let url = cluster.primary_url().parse().map_err(CliError::Url)?;
        Ok(Server { url, _cluster: Some(cluster) })
    }
}

impl Databases for Server {
    async fn connect(&self, database: &str) -> Result<AsyncPgConnection> {
        let options = ConnectConfig {
            statement_timeout: None,
            idle_in_transaction_timeout: None,
            application_name: Some("dbctl".to_owned()),
            ..ConnectConfig::default()
        };
        let connector = Connector::new(self.url.clone().with_database(database), options);
        let host = db_platform::primary_of(&connector).await?;
        connector.connect(&host).await
    }
}

fn bar(migrations: usize) -> ProgressBar {
    let bar = ProgressBar::new(migrations as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar
}

fn text(report: &CheckReport, format: Format) -> String {
    match format {
        Format::Human => say::coloured(&check::human(report)),
        Format::Markdown => check::markdown(report),
        Format::Sarif | Format::Github => found(&report.file_findings(), format),
    }
}

/// `dbctl migrate lint`: reads files, and needs no database.
pub(crate) fn lint(command: &Lint, options: &Options) -> std::result::Result<ExitCode, CliError> {
    let mut findings = Vec::new();
    for file in &command.files {
        let sql = std::fs::read_to_string(file).map_err(CliError::file(file))?;
        findings.extend(check::lint(&file.display().to_string(), &sql));
    }
    // Strings and numbers cannot fail to become JSON.
    let value = serde_json::to_value(&findings).unwrap_or_default();
    say::result(options.json, &found(&findings, command.format), &value);
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

fn found(findings: &[FileFinding], format: Format) -> String {
    let line = |one: &FileFinding| {
        let FileFinding { file, finding } = one;
        let fix = finding.fix.as_ref().map(|fix| format!("\n    {fix}")).unwrap_or_default();
        format!("{file}:{}: {} [{}]{fix}", finding.line.unwrap_or(1), finding.message, finding.rule)
    };
    match format {
        Format::Sarif => check::sarif(findings).to_string(),
        Format::Github => check::annotations(findings).trim_end().to_owned(),
        Format::Human | Format::Markdown if findings.is_empty() => "nothing found".to_owned(),
        Format::Human | Format::Markdown => findings.iter().map(line).collect::<Vec<_>>().join("\n"),
    }
}
