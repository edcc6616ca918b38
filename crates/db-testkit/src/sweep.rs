//! Removes what crashed runs and outdated content left on a shared server.

use crate::error::TestkitError;
use crate::hub::Hub;
use crate::names::{PREFIX, Run, Template};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio_postgres::Client;

/// So many templates are kept, however old: a project's crates and branches have one each.
const KEPT: usize = 8;
/// A template beyond these is dropped once it has been unused for so long.
const UNUSED: Duration = Duration::from_secs(60 * 60);

/// Drops the databases of runs whose process is gone, and templates that nobody has used for long.
pub(crate) async fn sweep(hub: &Hub) -> Result<(), TestkitError> {
    let doing = "looking for leftovers";
    let client = hub.client(doing).await?;
    let rows = client
        .query(
            "SELECT datname::text, shobj_description(oid, 'pg_database') FROM pg_database WHERE starts_with(datname, $1)",
            &[&PREFIX],
        )
        .await
        .map_err(hub.admin().failed(doing))?;
    let mut runs: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    let mut templates = Vec::new();
    for row in rows {
        let name: String = row.try_get(0).map_err(hub.admin().failed(doing))?;
        if let Some(run) = Run::of(&name) {
            if run != hub.run() {
                runs.entry(run.lock()).or_default().push(name);
            }
        } else if let Some(template) = Template::of(&name) {
            let comment: Option<String> = row.try_get(1).map_err(hub.admin().failed(doing))?;
            templates.push((last_used(comment.as_deref()), template));
        }
    }
    for (lock, names) in runs {
        drop_if_free(hub, &client, lock, &names).await?;
    }
    for template in outdated(templates, now()) {
        drop_if_free(hub, &client, template.using(), &[template.name().to_owned()]).await?;
    }
    hub.give_back(client);
    Ok(())
}

/// The comment that says when a template was used last.
pub(crate) fn used_now() -> String {
    format!("db-testkit template, used {}", now().as_secs())
}

async fn drop_if_free(hub: &Hub, client: &Client, lock: i64, names: &[String]) -> Result<(), TestkitError> {
    let failed = |doing: &str| hub.admin().failed(doing.to_owned());
    let free: bool = client
        .query_one("SELECT pg_try_advisory_lock($1)", &[&lock])
        .await
        .and_then(|row| row.try_get(0))
        .map_err(failed("asking whether a run lives"))?;
    if !free {
        return Ok(());
    }
    for name in names {
        hub.remove(name).await?;
        tracing::info!(database = name, "dropped a leftover test database");
    }
    client.execute("SELECT pg_advisory_unlock($1)", &[&lock]).await.map_err(failed("unlocking a run"))?;
    Ok(())
}

fn outdated(mut templates: Vec<(Duration, Template)>, now: Duration) -> impl Iterator<Item = Template> {
    templates.sort_by_key(|(used, _)| std::cmp::Reverse(*used));
    templates
        .into_iter()
        .skip(KEPT)
        .filter(move |(used, _)| now.saturating_sub(*used) > UNUSED)
        .map(|(_, template)| template)
}

fn last_used(comment: Option<&str>) -> Duration {
    let seconds = comment.and_then(|text| text.rsplit(' ').next()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{KEPT, UNUSED, last_used, now, outdated, used_now};
    use crate::names::Template;
    use std::time::Duration;

    #[test]
    fn the_newest_templates_are_kept_and_old_ones_beyond_them_go() {
        let now = Duration::from_secs(1_000_000);
        let template = |number: u64| Template::new(150_000, &number.to_string());
        let aged = |ages: &[u64]| -> Vec<Template> {
            let templates = ages.iter().map(|&age| (now - Duration::from_secs(age), template(age))).collect();
            outdated(templates, now).collect()
        };
        let old = UNUSED.as_secs() + 1;
        let some: Vec<u64> = (0..KEPT as u64).map(|n| old + n).collect();
        assert_eq!(aged(&some), []);
        assert_eq!(aged(&[some.as_slice(), &[old + 99]].concat()), [template(old + 99)]);
        assert_eq!(aged(&(0..2 * KEPT as u64).collect::<Vec<_>>()), []);
    }

    #[test]
    fn a_comment_is_read_back_and_a_strange_one_counts_as_old() {
        assert!(now() - last_used(Some(&used_now())) < Duration::from_secs(5));
        assert_eq!(last_used(Some("hello")), Duration::ZERO);
        assert_eq!(last_used(None), Duration::ZERO);
    }
}
