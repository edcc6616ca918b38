//! Takes the steps of a plan: each as the owner of the set, and none on another object than the plan saw.
//!
//! Names are looked up again by each statement. So a step checks last, inside its transaction, that the
//! objects which it changed have the numbers and the owner that the plan knows, and undoes itself where they
//! have not.

use std::sync::PoisonError;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::TryStreamExt as _;

use super::archive::{Archive, Bytes, count, counting};
use super::catalog::Child;
use super::mark::{Archived, Mark};
use super::step::{Step, Target};
use crate::error::{MaintenanceError, Result};
use crate::name::{TableName, identifier, literal};
use crate::session::{Check, Session, millis};

/// What the steps of one set have in common.
pub(crate) struct Context<'a> {
    pub(crate) owner: &'a str,
    pub(crate) at: DateTime<Utc>,
    pub(crate) archive: Option<&'a dyn Archive>,
    pub(crate) waits: Duration,
}

pub(crate) async fn step(session: &mut Session<'_>, context: &Context<'_>, step: &Step) -> Result<()> {
    let what = step.what();
    let owner = Some(context.owner);
    match step {
        Step::Create { partition, statements, parent, .. }
        | Step::Drain { partition, statements, parent, .. } => {
            let check = is_part_of(partition, *parent, context.owner);
            session.step(&what, owner, statements, Some(&check)).await
        }
        Step::Finalize { target, .. } => {
            session.verify(&what, &still(target)).await?;
            let sql = format!("{} FINALIZE", detaches(target));
            session.alone(&what, owner, &sql, context.waits).await?;
            session.verify(&what, &is_out(target)).await
        }
        Step::Detach { target, concurrently, .. } => {
            detach(session, context, &what, target, *concurrently).await
        }
        Step::Archive { name, target, .. } => keep(session, context, &what, name, target).await,
        Step::Drop { target, .. } => {
            read_back(session, context, &what, target).await?;
            drop_table(session, context, &what, target).await
        }
    }
}

fn detaches(target: &Target) -> String {
    format!("ALTER TABLE {} DETACH PARTITION {}", target.parent.quoted(), target.child.name.quoted())
}

fn is_part_of(name: &TableName, parent: u32, owner: &str) -> Check {
    let sql = format!(
        "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_inherits i ON i.inhrelid = c.oid JOIN pg_roles o ON o.oid = c.relowner \
         WHERE n.nspname = {} AND c.relname = {} AND i.inhparent = {parent} AND o.rolname = {})",
        literal(&name.schema),
        literal(&name.name),
        literal(owner)
    );
    Check { sql, otherwise: "the set's name means another table now".to_owned() }
}

/// Whether the name still means the table that the plan saw, with its owner and its comment.
fn still(target: &Target) -> Check {
    let child = &target.child;
    let comment = child.comment.as_deref().map_or_else(|| "NULL".to_owned(), literal);
    let sql = format!(
        "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_roles o ON o.oid = c.relowner WHERE c.oid = {} AND n.nspname = {} AND c.relname = {} \
         AND o.rolname = {} AND obj_description(c.oid, 'pg_class') IS NOT DISTINCT FROM {comment})",
        child.oid,
        literal(&child.name.schema),
        literal(&child.name.name),
        literal(&child.owner)
    );
    Check { sql, otherwise: "the name means another table now, or its owner or mark changed".to_owned() }
}

fn is_out(target: &Target) -> Check {
    let sql = format!("SELECT NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = {})", target.child.oid);
    Check { sql, otherwise: "another table was detached in its place".to_owned() }
}

/// The same table with this mark.
fn marked(target: &Target, mark: Mark) -> Target {
    let comment = Some(mark.on(target.child.comment.as_deref()));
    Target {
        child: Child { mark: Some(mark), comment, ..target.child.clone() },
        parent: target.parent.clone(),
    }
}

async fn detach(
    session: &mut Session<'_>,
    context: &Context<'_>,
    what: &str,
    target: &Target,
    concurrently: bool,
) -> Result<()> {
    let child = &target.child;
    let mark = Mark {
        parent: child.parent,
        set: target.parent.to_string(),
        bounds: child.text.clone(),
        at: context.at.to_rfc3339_opts(SecondsFormat::Secs, true),
        run: format!("{}", std::process::id()),
        archived: None,
    };
    // The mark comes first: what is detached without one would be forgotten.
    let target = marked(target, mark);
    marking(session, context, what, &target).await?;
    if !concurrently {
        let sql = [detaches(&target)];
        return session.step(what, Some(context.owner), &sql, Some(&is_out(&target))).await;
    }
    session.verify(what, &still(&target)).await?;
    let sql = format!("{} CONCURRENTLY", detaches(&target));
    match session.alone(what, Some(context.owner), &sql, context.waits).await {
        Ok(()) => session.verify(what, &is_out(&target)).await,
        Err(error) => {
            // The catalog tells whether it was begun; if so, the next run ends it.
            tracing::info!(what, %error, "a partition is not detached yet");
            Err(error)
        }
    }
}

/// Writes the comment of a table that [`marked`] made.
async fn marking(
    session: &mut Session<'_>,
    context: &Context<'_>,
    what: &str,
    target: &Target,
) -> Result<()> {
    let comment = target.child.comment.as_deref().unwrap_or_default();
    let sql = [format!("COMMENT ON TABLE {} IS {}", target.child.name.quoted(), literal(comment))];
    session.step(what, Some(context.owner), &sql, Some(&still(target))).await
}

/// The rows of a table, as COPY writes them, with a line of names before them.
async fn rows(session: &mut Session<'_>, what: &str, target: &Target) -> Result<Bytes> {
    let header = if session.version >= 150_000 { " (FORMAT text, HEADER)" } else { "" };
    let sql = format!("COPY (SELECT * FROM {}) TO STDOUT{header}", target.child.name.quoted());
    let copied = session.client().copy_out(&sql).await.map_err(MaintenanceError::step(what))?;
    Ok(Box::pin(copied.map_ok(|bytes| bytes.to_vec()).map_err(std::io::Error::other)))
}

fn header_lines(session: &Session<'_>) -> u64 {
    u64::from(session.version >= 150_000)
}

/// Keeps the rows in the archive, reads them back, and notes that in the mark.
async fn keep(
    session: &mut Session<'_>,
    context: &Context<'_>,
    what: &str,
    name: &str,
    target: &Target,
) -> Result<()> {
    let archive = the_archive(context, name)?;
    session.client().batch_execute(&begins(context)).await?;
    let kept = async {
        session.verify(what, &still(target)).await?;
        let (bytes, counted) = counting(rows(session, what, target).await?);
        archive.store(name, bytes).await.map_err(failed(name))?;
        let counted = std::mem::take(&mut *counted.lock().unwrap_or_else(PoisonError::into_inner));
        Ok::<_, MaintenanceError>(counted.finish())
    }
    .await;
    if !session.client().is_closed() {
        session.client().batch_execute("ROLLBACK").await?;
    }
    let (lines, sha256) = kept?;
    let (lines_read, read) =
        count(archive.read(name).await.map_err(failed(name))?).await.map_err(failed(name))?;
    if (lines_read, &read) != (lines, &sha256) {
        return Err(differs(name, "what was read back differs from what was written"));
    }
    let rows = lines.saturating_sub(header_lines(session));
    let archived = Archived { name: name.to_owned(), rows, sha256 };
    let Some(mark) = target.child.mark.clone() else { return Ok(()) };
    let marked = marked(target, Mark { archived: Some(archived), ..mark });
    marking(session, context, what, &marked).await
}

/// Fails unless the archive still has exactly the rows that the table has.
async fn read_back(
    session: &mut Session<'_>,
    context: &Context<'_>,
    what: &str,
    target: &Target,
) -> Result<()> {
    let mark = target.child.mark.as_ref();
    let Some(archived) = mark.and_then(|mark| mark.archived.as_ref()) else { return Ok(()) };
    let archive = the_archive(context, &archived.name)?;
    let name = &archived.name;
    let (_, read) = count(archive.read(name).await.map_err(failed(name))?).await.map_err(failed(name))?;
    if read != archived.sha256 {
        return Err(differs(name, "it no longer holds what was archived; the table stays"));
    }
    session.client().batch_execute(&begins(context)).await?;
    let counted = match rows(session, what, target).await {
        Ok(bytes) => count(bytes).await.map_err(failed(name)),
        Err(error) => Err(error),
    };
    if !session.client().is_closed() {
        session.client().batch_execute("ROLLBACK").await?;
    }
    if counted?.1 != archived.sha256 {
        return Err(differs(name, "the table was changed after it was archived; it stays"));
    }
    Ok(())
}

fn begins(context: &Context<'_>) -> String {
    format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL lock_timeout = {}; SET LOCAL ROLE {}",
        millis(context.waits),
        identifier(context.owner)
    )
}

async fn drop_table(
    session: &mut Session<'_>,
    context: &Context<'_>,
    what: &str,
    target: &Target,
) -> Result<()> {
    let name = target.child.name.quoted();
    // Locked before it is looked at, so that nothing is written between the look and the end.
    let sql = [format!("LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE"), format!("DROP TABLE {name}")];
    let check = Check {
        sql: format!("SELECT NOT EXISTS (SELECT FROM pg_class WHERE oid = {})", target.child.oid),
        otherwise: "the name means another table now".to_owned(),
    };
    session.verify(what, &still(target)).await?;
    session.step(what, Some(context.owner), &sql, Some(&check)).await
}

fn the_archive<'a>(context: &Context<'a>, name: &str) -> Result<&'a dyn Archive> {
    context.archive.ok_or_else(|| differs(name, "no archive is set: PARTITION_ARCHIVE_DIR"))
}

fn differs(name: &str, why: &str) -> MaintenanceError {
    MaintenanceError::Archive { name: name.to_owned(), why: why.to_owned() }
}

fn failed(name: &str) -> impl Fn(std::io::Error) -> MaintenanceError {
    let name = name.to_owned();
    move |error| MaintenanceError::Archive { name: name.clone(), why: error.to_string() }
}
