//! `dbctl backup verify`.

use std::process::ExitCode;

use db_platform::backup::{Cluster, Verdict, VerifyOptions, VerifyScope};
use serde_json::json;

use super::list::size;
use crate::args::Options;
use crate::backup_args::Verify;
use crate::error::CliError;
use crate::repository::BackupSettings;
use crate::{FOUND, audit, say};

pub(crate) async fn run(command: &Verify, options: &Options) -> Result<ExitCode, CliError> {
    let opened = BackupSettings::read(options)?.open().await?;
    let clusters: Vec<Cluster> = match command.of.cluster {
        Some(id) => vec![opened.cluster(id)],
        None => opened.clusters().await?.into_iter().map(|id| opened.cluster(id)).collect(),
    };
    if clusters.is_empty() {
        return Err(CliError::NoBackups);
    }
    let wanted = VerifyOptions {
        contents: !command.quick,
        scope: match (command.new, command.sample) {
            (true, _) => VerifyScope::New,
            (_, Some(share)) => share,
            _ => VerifyScope::All,
        },
        workers: usize::from(command.workers),
        newest_within: command.max_age,
        wal_within: command.max_log_age,
    };
    let (mut lines, mut values, mut holds) = (Vec::new(), Vec::new(), true);
    for cluster in clusters {
        let verdict = once(&cluster, wanted).await?;
        holds &= verdict.holds();
        lines.push(format!("cluster {}: {}", cluster.system_identifier(), sentence(&verdict)));
        lines.extend(verdict.findings.iter().map(|finding| format!("wrong {finding}")));
        values.push(json!({
            "cluster": cluster.system_identifier().to_string(),
            "holds": verdict.holds(),
            "backups": verdict.backups,
            "objects": verdict.objects,
            "read": verdict.read,
            "scope": verdict.scope.to_string(),
            "bytes": verdict.bytes,
            "findings": verdict.findings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }));
    }
    say::result(options.json, &say::coloured(&lines.join("\n")), &json!({ "clusters": values }));
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

/// Verifies, and writes down what was: the next verification of what is new goes on from there.
pub(crate) async fn once(cluster: &Cluster, wanted: VerifyOptions) -> Result<Verdict, CliError> {
    let verdict = cluster.verify(wanted).await?;
    audit::write(cluster, &verdict.entry(audit::who())).await;
    Ok(verdict)
}

/// What was found, in one line.
pub(crate) fn sentence(verdict: &Verdict) -> String {
    let read = format!(
        "{} backups, {} objects, {} of them read with {}",
        verdict.backups,
        verdict.objects,
        verdict.read,
        size(verdict.bytes)
    );
    match verdict.findings.as_slice() {
        [] => format!("{read}, all as they were written"),
        [only] => format!("{read}; {only}"),
        [first, rest @ ..] => format!("{read}; {first}, and {} findings more", rest.len()),
    }
}
