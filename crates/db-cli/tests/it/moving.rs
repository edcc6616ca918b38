//! docs/moving-from-pgbackrest.md is run: every block of shell, in order, against pgBackRest itself.

use crate::operations::{Host, TOOLS, sections};

const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/moving-from-pgbackrest.md"));

/// What must hold after the last block of a section.
const AFTER: [(&str, &str); 3] = [
    ("See what would come over", "dbctl backup import --plan --all --json | grep -q '\"type\":\"incr\"'"),
    ("Bring it over, and see that it restores", "test $(dbctl backup list --json | grep -o pgBackRest | wc -l) = 1"),
    (
        "Let the server archive here",
        "psql -d app -c 'INSERT INTO orders SELECT 2001'; archived; dbctl backup restore --to $COPY --yes;
         pg_ctl start -D $COPY -w -t 600 -l copy.log -o '-p 5433' > /dev/null
         until pg_isready --quiet -p 5433; do sleep 0.1; done
         test $(psql -p 5433 -d app -XAtc 'SELECT count(*) FROM orders') = 1201; pg_ctl stop -D $COPY -m fast > /dev/null",
    ),
];

#[test]
fn every_block_of_the_page_does_what_it_says() {
    let program = std::env::var("DB_BACKUP_PGBACKREST").unwrap_or_else(|_| "pgbackrest".to_owned());
    if !std::process::Command::new(&program).arg("version").output().is_ok_and(|said| said.status.success()) {
        return db_testkit::skip::this_test(
            "there is no pgbackrest: install it, or name it in DB_BACKUP_PGBACKREST",
        );
    }
    let host = Host::new();
    let backrest = format!("{program} --config=$PWD/pgbackrest.conf --stanza=main");
    host.shell(
        "the server with pgBackRest",
        &format!(
            "{TOOLS}
             initdb -D $PGDATA -U postgres -A scram-sha-256 --pwfile=password --no-sync > /dev/null
             mkdir backrest log lock
             cat > pgbackrest.conf <<END
[global]
repo1-path=$PWD/backrest
repo1-cipher-type=aes-256-cbc
repo1-cipher-pass=swordfish
repo1-retention-full=2
repo1-bundle=y
compress-type=zst
start-fast=y
log-level-console=error
log-level-file=off
log-path=$PWD/log
lock-path=$PWD/lock
[main]
pg1-path=$PGDATA
pg1-port=5432
pg1-socket-path=$PGHOST
pg1-user=postgres
END
             cat >> $PGDATA/postgresql.conf <<END
listen_addresses = ''
unix_socket_directories = '$PGHOST'
archive_mode = on
archive_command = '{backrest} archive-push %p'
END
             pg_ctl start -D $PGDATA -w -l server.log > /dev/null
             {backrest} stanza-create
             createdb app; psql -d app -c 'CREATE TABLE orders AS SELECT g AS id FROM generate_series(1, 1000) g'
             {backrest} --type=full backup
             psql -d app -c 'INSERT INTO orders SELECT generate_series(1001, 1200)'
             {backrest} --type=incr backup
             archived
             dbctl backup init --keys-to keys.env
             grep BACKUP_ENCRYPTION_KEY keys.env >> $DBCTL_SETTINGS
             echo PGBACKREST_CONFIG=$PWD/pgbackrest.conf >> $DBCTL_SETTINGS"
        ),
    );
    let sections = sections(PAGE);
    assert!(
        AFTER.iter().all(|(heading, _)| sections.iter().any(|(of, _)| of == heading)),
        "a section was renamed"
    );
    for (heading, blocks) in &sections {
        for block in blocks {
            host.shell(&format!("a block of {heading:?}"), block);
        }
        for (_, after) in AFTER.iter().filter(|(of, _)| of == heading) {
            host.shell(&format!("what must hold after {heading:?}"), &format!("{TOOLS}{after}"));
        }
    }
}
