//! `dbctl migrate check` and `drift`.

use std::path::Path;
use std::process::ExitCode;

use db_platform::DatabaseUrl;
use db_platform::core::Connect as _;
use db_platform::migrations::check::{
    self, CheckConfig, CheckError, CheckReport, Databases, DriftConfig, FileFinding, MigrationCheck, Past,
};
use db_platform::migrations::schema::{Schema, difference};
use db_platform::migrations::{Migrations, Stats};
use db_platform::pool::{ConnectConfig, Connector};
use db_server::{Cluster, ServerSettings};
use diesel_async::AsyncPgConnection;
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::Options;
use crate::connect;
use crate::error::CliError;
use crate::migrate_args::{Check, Drift, Format};
use crate::{FOUND, INTERRUPTED, interrupt, say};

pub(crate) async fn run(command: Check, options: &Options) -> Result<ExitCode, CliError> {
    // Its databases are dropped before it ends.
    let stop = interrupt::from_now_on();
    let migrations = command.source.migrations()?;
    let past = command.from.as_deref().map(|from| Past::at(&command.source.dir, from)).transpose()?;
    let config = config(&command, &migrations, past.as_ref())?;
    if let Some(past) = &past {
        for file in &past.edited {
            eprintln!("dbctl: {} was changed since {}: write a new migration", file.display(), past.commit);
        }
        if config.only.is_empty() {
            let text = format!("no migration has come since {}", past.commit);
            say::result(
                options.json,
                &text,
                &serde_json::to_value(CheckReport::default()).unwrap_or_default(),
            );
            return Ok(verdict(past.edited.is_empty()));
        }
    }
    let server = match (&options.url_file, &options.database_url) {
        (None, None) => Server::throw_away(command.pg).await?,
        _ => Server { url: connect::config(options)?.direct_url, _cluster: None },
    };
    let bar = bar(migrations.iter().count());
    let on_one = |one: &MigrationCheck| {
        bar.set_message(one.name.clone());
        bar.inc(1);
    };
    let report = check::check_until(&server, &migrations, &config, on_one, stop).await;
    bar.finish_and_clear();
    let report = match report {
        Err(CheckError::Stopped) => return Ok(ExitCode::from(INTERRUPTED)),
        report => report?,
    };
    // Its fields are strings and numbers, which cannot fail to become JSON.
    let value = serde_json::to_value(&report).unwrap_or_default();
    say::result(options.json, &text(&report, command.format), &value);
    Ok(verdict(report.summary.passes && past.is_none_or(|past| past.edited.is_empty())))
}

/// Checks these versions of a directory on a throw-away server, on top of all others.
pub(crate) async fn of_versions(
    directory: &Path,
    only: Vec<String>,
    major: Option<u16>,
) -> Result<CheckReport, CliError> {
    let migrations = Migrations::read(directory)?;
    let server = Server::throw_away(major).await?;
    let config = CheckConfig { only, ..CheckConfig::default() };
    Ok(check::check(&server, &migrations, &config, |_| {}).await?)
}

/// What a check found, for people.
pub(crate) fn human(report: &CheckReport) -> String {
    say::coloured(&check::human(report))
}

fn config(command: &Check, migrations: &Migrations, past: Option<&Past>) -> Result<CheckConfig, CliError> {
    let plain = |version: &String| match version.starts_with("R__") {
        true => version.clone(),
        false => version.replace('-', ""),
    };
    let seed = command.seed.as_deref().map(text_of);
    let old_schema = past.zip(command.schema_rs.as_deref()).map(|(past, file)| past.file(file));
    Ok(CheckConfig {
        only: match past {
            Some(past) => past.new_ones(migrations),
            None => command.only.iter().map(plain).collect(),
        },
        past: past.map(|past| past.versions.clone()).unwrap_or_default(),
        old_schema: old_schema.transpose()?,
        seed: seed.transpose()?,
        stats: command.stats.as_deref().map(sizes).transpose()?,
        start_after: command.start_after.as_ref().map(plain),
        before: command.before.as_deref().map(text_of).transpose()?,
        fail_on: command.fail_on.into(),
        keep_base: command.keep_base,
        ..CheckConfig::default()
    })
}

fn text_of(file: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(file).map_err(CliError::file(file))
}

pub(crate) fn verdict(passes: bool) -> ExitCode {
    if passes { ExitCode::SUCCESS } else { ExitCode::from(FOUND) }
}

/// `dbctl migrate drift`.
pub(crate) async fn drift(command: Drift, options: &Options) -> Result<ExitCode, CliError> {
    let migrations = command.source.migrations()?;
    let config = connect::config(options)?;
    let (mut live, ..) = connect::connect(&config).await?;
    let schema = match &command.schema_rs {
        Some(file) => schema_drift(&mut live, file).await?,
        None => String::new(),
    };
    let major = match command.pg {
        Some(major) => Some(major),
        None => {
            Stats::read(&mut live).await?.server_version.split('.').next().and_then(|text| text.parse().ok())
        }
    };
    let server = Server::throw_away(major).await?;
    let wanted = DriftConfig {
        ledger_schema: config.ledger_schema.clone(),
        before: command.before.as_deref().map(text_of).transpose()?,
    };
    let drift = check::drift(&server, &migrations, &mut live, &wanted).await?;
    let mut lines: Vec<String> = drift.differences.iter().map(ToString::to_string).collect();
    lines.extend(
        drift.unknown.iter().map(|version| format!("unknown  {version} is applied but not in the directory")),
    );
    lines.extend(drift.pending.iter().map(|version| format!("pending  {version}")));
    if !schema.is_empty() {
        lines.push(format!(
            "schema.rs differs; this would make the database as it says:\n{}",
            schema.trim_end()
        ));
    }
    let none = drift.is_none() && schema.is_empty();
    if none {
        lines.push("the database is what its migrations make".to_owned());
    }
    let mut value = serde_json::to_value(&drift).unwrap_or_default();
    value["schema_rs"] = schema.into();
    say::result(options.json, &say::coloured(&lines.join("\n")), &value);
    Ok(verdict(none))
}

/// What would make the database as `schema.rs` says.
async fn schema_drift(live: &mut AsyncPgConnection, file: &Path) -> Result<String, CliError> {
    let text = std::fs::read_to_string(file).map_err(CliError::file(file))?;
    let wanted = Schema::parse(&text)?;
    let schemas: Vec<&str> = wanted.tables.iter().filter_map(|table| table.schema.as_deref()).collect();
    Ok(difference(&Schema::read(live, &schemas).await?, &wanted).up)
}

fn sizes(file: &Path) -> Result<Stats, CliError> {
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
    async fn connect(&self, database: &str) -> db_platform::Result<AsyncPgConnection> {
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

pub(crate) fn found(findings: &[FileFinding], format: Format) -> String {
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
