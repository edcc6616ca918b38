//! Brings the ledger in line with what a person says is so: baseline, repair and reset.

use db_core::Environment;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};

use crate::error::MigrationError;
use crate::ledger::{State, UnderWay};
use crate::migrator::{Migrator, Need, Step, Until};
use crate::run::{Direction, Runner};
use crate::segments::{hash_of, segments};
use crate::source::{Migration, Version};

/// What [`Migrator::repair`] or [`Migrator::baseline`] wrote into the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Repaired {
    /// The migration counts as applied as its file is now.
    Accepted(Version),
    /// The migration counts as applied, and nothing of it was run.
    Baselined(Version),
    /// The migration, which is not in the directory, counts as not applied.
    Forgotten(Version),
}

impl Migrator {
    /// Records every migration up to `newest` as applied without running it: for a database that is older
    /// than its migrations. Those that are recorded already stay as they are.
    ///
    /// # Errors
    /// [`MigrationError::NoSuchVersion`], and as [`Migrator::apply`].
    ///
    /// # Cancel safety
    /// As [`Migrator::apply`]; all are recorded or none.
    pub async fn baseline(
        &self,
        conn: &mut AsyncPgConnection,
        newest: &str,
    ) -> Result<Vec<Repaired>, MigrationError> {
        let newest = &self.named(newest)?.version;
        let Some((mut runner, state)) = self.lock(conn, Need::Always).await? else { return Ok(Vec::new()) };
        let result = self.baseline_to(&mut runner, &state, newest).await;
        runner.unlock().await;
        result
    }

    async fn baseline_to(
        &self,
        runner: &mut Runner<'_>,
        state: &State,
        newest: &Version,
    ) -> Result<Vec<Repaired>, MigrationError> {
        let mut done = Vec::new();
        runner.conn.batch_execute("BEGIN").await?;
        for migration in self.migrations.iter().filter(|migration| migration.version <= *newest) {
            if !state.applied.contains(&migration.version) {
                runner.ledger.applied(runner.conn, migration, "baseline", Default::default()).await?;
                done.push(Repaired::Baselined(migration.version.clone()));
            }
        }
        runner.conn.batch_execute("COMMIT").await?;
        Ok(done)
    }

    /// Accepts what [`Migrator::plan`] complains of: edited migrations count as applied as they are now, a
    /// migration that was cut off and then edited goes on behind its parts that ran, and versions that are
    /// not in the directory are forgotten. With no `versions`, every edited one is accepted and every applied
    /// one without a checksum gets it; nothing is forgotten.
    ///
    /// # Errors
    /// [`MigrationError::NoSuchVersion`], and as [`Migrator::apply`].
    ///
    /// # Cancel safety
    /// As [`Migrator::apply`]; all is written or nothing.
    pub async fn repair(
        &self,
        conn: &mut AsyncPgConnection,
        versions: &[String],
    ) -> Result<Vec<Repaired>, MigrationError> {
        let Some((mut runner, state)) = self.lock(conn, Need::Always).await? else { return Ok(Vec::new()) };
        let result = self.repair_all(&mut runner, &state, versions).await;
        runner.unlock().await;
        result
    }

    async fn repair_all(
        &self,
        runner: &mut Runner<'_>,
        state: &State,
        versions: &[String],
    ) -> Result<Vec<Repaired>, MigrationError> {
        let mut done = Vec::new();
        runner.conn.batch_execute("BEGIN").await?;
        if versions.is_empty() {
            let differ = |one: &&Migration| state.checksums.get(&one.version) != Some(&one.checksum);
            for migration in self.migrations.iter().filter(differ) {
                if state.applied.contains(&migration.version) {
                    done.push(accept(runner, migration).await?);
                }
            }
        }
        for version in versions {
            done.push(self.repair_one(runner, state, &version.replace('-', "")).await?);
        }
        runner.conn.batch_execute("COMMIT").await?;
        Ok(done)
    }

    async fn repair_one(
        &self,
        runner: &mut Runner<'_>,
        state: &State,
        version: &str,
    ) -> Result<Repaired, MigrationError> {
        let cut_off = state.under_way.iter().find(|one| one.version.as_str() == version);
        let applied = state.applied.iter().find(|one| one.as_str() == version);
        let known = self.migrations.iter().find(|one| one.version.as_str() == version);
        match (known, applied, cut_off) {
            (Some(migration), _, Some(cut_off)) => {
                runner.accept_cut_off(migration, cut_off).await?;
                Ok(Repaired::Accepted(migration.version.clone()))
            }
            (Some(migration), Some(_), None) => accept(runner, migration).await,
            (None, Some(version), _) => forget(runner, version).await,
            (None, None, Some(cut_off)) => forget(runner, &cut_off.version).await,
            (_, None, None) => Err(MigrationError::NoSuchVersion { version: version.to_owned() }),
        }
    }

    /// Drops everything in the database and applies all migrations, in development and test only;
    /// `environment` is the one that a person or a setting named, none where nobody did.
    ///
    /// Everything is: all schemas, extensions, publications, foreign servers and event triggers. The database
    /// itself, its settings, roles and large objects stay.
    ///
    /// # Errors
    /// [`MigrationError::ResetRefused`] elsewhere, [`MigrationError::ResetNowhere`] without an environment,
    /// and as [`Migrator::apply`].
    ///
    /// # Cancel safety
    /// As [`Migrator::apply`].
    pub async fn reset(
        &self,
        conn: &mut AsyncPgConnection,
        environment: Option<Environment>,
        on_step: impl FnMut(&Step) + Send,
    ) -> Result<Vec<Step>, MigrationError> {
        match environment {
            Some(Environment::Development | Environment::Test) => {}
            Some(environment) => return Err(MigrationError::ResetRefused { environment }),
            None => return Err(MigrationError::ResetNowhere),
        }
        let Some((mut runner, state)) = self.lock(conn, Need::Empty).await? else { return Ok(Vec::new()) };
        let result = self.apply_pending(&mut runner, &state, &Until::All, on_step).await;
        runner.unlock().await;
        result
    }

    pub(crate) fn named(&self, version: &str) -> Result<&Migration, MigrationError> {
        let plain = version.replace('-', "");
        let found = self.migrations.iter().find(|one| one.version.as_str() == plain || one.label() == plain);
        found.ok_or_else(|| MigrationError::NoSuchVersion { version: version.to_owned() })
    }
}

async fn accept(runner: &mut Runner<'_>, migration: &Migration) -> Result<Repaired, MigrationError> {
    runner.ledger.applied(runner.conn, migration, "repaired", Default::default()).await?;
    Ok(Repaired::Accepted(migration.version.clone()))
}

async fn forget(runner: &mut Runner<'_>, version: &Version) -> Result<Repaired, MigrationError> {
    runner.ledger.forget(runner.conn, version).await?;
    Ok(Repaired::Forgotten(version.clone()))
}

impl Runner<'_> {
    /// Takes the parts that ran for what the file says now.
    async fn accept_cut_off(
        &mut self,
        migration: &Migration,
        cut_off: &UnderWay,
    ) -> Result<(), MigrationError> {
        let sql = match cut_off.direction {
            Direction::Up => &migration.up,
            Direction::Down => migration.down.as_ref().unwrap_or(&migration.up),
        };
        let parts = segments(sql, migration.run_in_transaction, self.session.standard);
        let hash = hash_of(&parts.unwrap_or_default(), cut_off.done);
        let to = UnderWay { hash, ..cut_off.clone() };
        Ok(self.ledger.came(self.conn, &to).await?)
    }
}

/// `public` comes back as it was: its owner, and who may do what in it.
pub(crate) const DROP_EVERYTHING: &str = "DO $reset$
DECLARE
    one record;
    owner text;
    rights aclitem[];
    had_public boolean;
    said text;
BEGIN
    SELECT nspowner::regrole::text, nspacl, obj_description(oid, 'pg_namespace') INTO owner, rights, said
        FROM pg_namespace WHERE nspname = 'public';
    had_public := FOUND;
    -- So many that the locks of all of them have no room in the server's memory: a hundred at a time. The ledger goes
    -- first, so that nobody takes what is left for a whole schema.
    IF (SELECT count(*) FROM pg_class WHERE oid >= 16384) > 3000 THEN
        FOR one IN
            SELECT format('DROP %s IF EXISTS %I.%I CASCADE', CASE relkind WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END,
                nspname, relname) AS drop, row_number() OVER (
                    ORDER BY relname ~ '^__(diesel_schema|db)_migrations' DESC, relispartition DESC, c.oid) AS place
            FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
            WHERE relkind IN ('r', 'p', 'f') AND nspname !~ '^pg_' AND nspname <> 'information_schema'
                AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                    AND d.deptype = 'e')
            ORDER BY 2
        LOOP
            EXECUTE one.drop;
            IF one.place % 100 = 0 THEN
                COMMIT;
            END IF;
        END LOOP;
        COMMIT;
    END IF;
    FOR one IN SELECT evtname FROM pg_event_trigger LOOP
        EXECUTE format('DROP EVENT TRIGGER IF EXISTS %I CASCADE', one.evtname);
    END LOOP;
    FOR one IN SELECT pubname FROM pg_publication LOOP
        EXECUTE format('DROP PUBLICATION IF EXISTS %I CASCADE', one.pubname);
    END LOOP;
    FOR one IN SELECT extname FROM pg_extension WHERE extname <> 'plpgsql' LOOP
        EXECUTE format('DROP EXTENSION IF EXISTS %I CASCADE', one.extname);
    END LOOP;
    FOR one IN SELECT fdwname FROM pg_foreign_data_wrapper LOOP
        EXECUTE format('DROP FOREIGN DATA WRAPPER IF EXISTS %I CASCADE', one.fdwname);
    END LOOP;
    FOR one IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
        EXECUTE format('DROP SCHEMA IF EXISTS %I CASCADE', one.nspname);
    END LOOP;
    IF had_public THEN
        CREATE SCHEMA public;
        EXECUTE format('COMMENT ON SCHEMA public IS %L', said);
        EXECUTE 'ALTER SCHEMA public OWNER TO ' || owner;
        FOR one IN
            SELECT privilege_type, CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS grantee
            FROM aclexplode(rights)
        LOOP
            EXECUTE format('GRANT %s ON SCHEMA public TO %s', one.privilege_type, one.grantee);
        END LOOP;
    END IF;
END
$reset$";
