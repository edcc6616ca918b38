//! Seven attacks on a maintainer, one for each of pg_partman's classes of CVEs of 2026: each panics if it
//! succeeds.

use db_testkit::TestDatabase;
use tokio_postgres::Client;

use crate::database::{apply, at, connect, done, failed, held, texts, with};

const NOW: &str = "2026-11-28T12:00:00Z";

/// Names are the server's, not the database's: each test has its own.
struct Roles {
    owner: String,
    maintainer: String,
    attacker: String,
}

/// A set of the owner's, and a maintainer who is a member of that role and nothing else. The attacker may
/// make objects.
async fn stage(test: &str) -> (TestDatabase, Client, Roles) {
    let (database, admin) = with("").await;
    let tag = format!("{test}_{}", database.name().rsplit('_').next().unwrap_or_default());
    let roles = Roles {
        owner: format!("own_{tag}"),
        maintainer: format!("mnt_{tag}"),
        attacker: format!("atk_{tag}"),
    };
    let Roles { owner, maintainer, attacker } = &roles;
    let sql = format!(
        "CREATE ROLE {owner}; CREATE ROLE {maintainer}; CREATE ROLE {attacker}; GRANT {owner} TO \
         {maintainer}; \
         CREATE SCHEMA app AUTHORIZATION {owner}; GRANT CREATE, USAGE ON SCHEMA app TO {attacker}; \
         GRANT CREATE ON DATABASE {} TO {attacker}; GRANT ALL ON SCHEMA public TO {attacker}; \
         CREATE TABLE app.loot (who text); GRANT INSERT ON app.loot TO PUBLIC; GRANT USAGE ON SCHEMA app \
         TO PUBLIC; \
         SET ROLE {owner}; \
         CREATE TABLE app.events (at timestamptz NOT NULL, n int) PARTITION BY RANGE (at); \
         CREATE TABLE app.old PARTITION OF app.events FOR VALUES FROM ('2026-09-01Z') TO ('2026-10-01Z'); \
         CREATE TABLE app.new PARTITION OF app.events FOR VALUES FROM ('2026-10-01Z') TO ('2026-11-01Z'); \
         RESET ROLE",
        database.name()
    );
    admin.batch_execute(&sql).await.unwrap();
    (database, admin, roles)
}

/// The session of the maintainer, which logs in: RESET SESSION AUTHORIZATION would make it the superuser's
/// again.
async fn login(database: &TestDatabase, admin: &Client, roles: &Roles) -> Client {
    let password = format!("p{}", database.name().len());
    let sql = format!("ALTER ROLE {} LOGIN PASSWORD '{password}'", roles.maintainer);
    admin.batch_execute(&sql).await.unwrap();
    let mut config: tokio_postgres::Config = database.url().parse().unwrap();
    config.user(&roles.maintainer).password(&password);
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Roles outlive their database: they are dropped with what they own.
async fn clean(admin: &Client, roles: &Roles) {
    let Roles { owner, maintainer, attacker } = roles;
    let all = format!("{owner}, {maintainer}, {attacker}");
    admin.batch_execute(&format!("DROP OWNED BY {all} CASCADE; DROP ROLE {all}")).await.unwrap();
}

async fn as_attacker(admin: &Client, roles: &Roles, sql: &str) {
    let sql = format!("SET ROLE {}; {sql}; RESET ROLE", roles.attacker);
    admin.batch_execute(&sql).await.unwrap();
}

const POLICY: &str =
    "[[set]]\ntable = \"app.events\"\nevery = \"month\"\nretain = \"1 month\"\ndrop_after = \"0 days\"\n";

/// A function that notes who ran it.
const STEALS: &str = "LANGUAGE plpgsql AS $$BEGIN INSERT INTO app.loot VALUES (current_user || ' ' || \
    session_user); \
    RETURN NULL; END$$";

pub(crate) async fn names_are_never_sql() {
    let (database, admin, roles) = stage("names").await;
    let evil = r#"x"; DROP TABLE app.events; --$dbm$ '"#;
    let quoted = format!("\"{}\"", evil.replace('"', "\"\""));
    let sql = format!(
        "SET ROLE {}; \
         CREATE TABLE app.{quoted} ({quoted} date NOT NULL) PARTITION BY RANGE ({quoted}); \
         CREATE TABLE app.{} PARTITION OF app.{quoted} FOR VALUES FROM ('2026-08-01') TO ('2026-09-01'); \
         CREATE TABLE app.b PARTITION OF app.{quoted} FOR VALUES FROM ('2026-09-01') TO ('2026-10-01'); \
         RESET ROLE",
        roles.owner,
        quoted.replace("x\"\"", "y\"\"")
    );
    admin.batch_execute(&sql).await.unwrap();
    let mut client = login(&database, &admin, &roles).await;
    let table = format!("app.{quoted}").replace('\\', "\\\\").replace('"', "\\\"");
    let policy = POLICY.replace("app.events", &table);
    for _ in 0..2 {
        let report = apply(&at(NOW, &policy), &mut client).await;
        assert_eq!(failed(&report), "");
    }
    assert_eq!(texts(&admin, "SELECT to_regclass('app.events')::text").await, ["app.events"]);
    let made =
        texts(&admin, "SELECT count(*)::text FROM pg_class WHERE relname LIKE 'x\"; DROP%p2026%'").await;
    assert_eq!(made, ["3"]);
    clean(&admin, &roles).await;
}

pub(crate) async fn a_table_of_another_role_is_no_template() {
    let (database, admin, roles) = stage("template").await;
    // The newest sibling was given away; its grants and storage would come to the next partition.
    let sql = format!(
        "GRANT ALL ON app.new TO {0}; ALTER TABLE app.new SET (fillfactor = 10); ALTER TABLE app.new \
         OWNER TO {0}; \
         ALTER TABLE app.old SET (fillfactor = 90)",
        roles.attacker
    );
    admin.batch_execute(&sql).await.unwrap();
    let mut client = login(&database, &admin, &roles).await;
    let report = apply(&at(NOW, &POLICY.replace("retain", "#")), &mut client).await;
    assert_eq!(failed(&report), "");
    let made = texts(
        &admin,
        "SELECT concat_ws(' ', reloptions, relacl) FROM pg_class WHERE relname = 'events_p20261101'",
    );
    assert_eq!(made.await, ["{fillfactor=90}"]);
    clean(&admin, &roles).await;
}

pub(crate) async fn functions_and_operators_on_the_path_are_not_run() {
    let (database, admin, roles) = stage("path").await;
    let evil = "CREATE FUNCTION public.f(a text, b text) RETURNS bool LANGUAGE plpgsql AS $$BEGIN \
        INSERT INTO app.loot VALUES (session_user); RETURN true; END$$; \
        CREATE FUNCTION public.g(a name, b text) RETURNS bool LANGUAGE sql AS $$SELECT public.f($1::text, \
        $2)$$; \
        CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.f); \
        CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = text, FUNCTION = public.g); \
        CREATE FUNCTION public.count(anyelement) RETURNS bigint LANGUAGE plpgsql AS $$BEGIN \
        INSERT INTO app.loot VALUES (session_user); RETURN 1; END$$; \
        CREATE FUNCTION public.format_type(oid, int) RETURNS text LANGUAGE plpgsql AS $$BEGIN \
        INSERT INTO app.loot VALUES (session_user); RETURN 'date'; END$$";
    as_attacker(&admin, &roles, evil).await;
    let path = format!("ALTER ROLE {} SET search_path = public, app, pg_catalog", roles.maintainer);
    admin.batch_execute(&path).await.unwrap();
    let mut client = login(&database, &admin, &roles).await;
    for _ in 0..2 {
        assert_eq!(failed(&apply(&at(NOW, POLICY), &mut client).await), "");
    }
    assert_eq!(texts(&admin, "SELECT who FROM app.loot").await, Vec::<String>::new());
    clean(&admin, &roles).await;
}

pub(crate) async fn what_is_made_belongs_to_the_owner_and_squatted_names_are_left_alone() {
    let (database, admin, roles) = stage("owner").await;
    // The name that the next partition would have, with a trigger that waits for rows.
    let squat = format!(
        "CREATE TABLE app.events_p20261101 (at timestamptz NOT NULL, n int); \
         CREATE FUNCTION app.steal() RETURNS trigger {STEALS}; \
         CREATE TRIGGER steals BEFORE INSERT ON app.events_p20261101 FOR EACH ROW EXECUTE FUNCTION \
         app.steal(); \
         CREATE TYPE app.events_p20261201 AS (a int)"
    );
    as_attacker(&admin, &roles, &squat).await;
    let mut client = login(&database, &admin, &roles).await;
    assert_eq!(failed(&apply(&at(NOW, POLICY), &mut client).await), "");
    admin.batch_execute("INSERT INTO app.events VALUES ('2026-11-28Z', 1)").await.unwrap();
    let owners = texts(
        &admin,
        "SELECT DISTINCT relowner::regrole::text FROM pg_class c JOIN pg_inherits i \
        ON i.inhrelid = c.oid WHERE i.inhparent = 'app.events'::regclass",
    )
    .await;
    assert_eq!(owners, [roles.owner.as_str()]);
    assert_eq!(texts(&admin, "SELECT who FROM app.loot").await, Vec::<String>::new());
    // A superuser does not work on tables of a role that is not named.
    let mut superuser = connect(database.url()).await;
    let said = failed(&apply(&at("2027-06-01T00:00:00Z", POLICY), &mut superuser).await);
    assert!(said.contains("a superuser would run that role's functions"), "{said}");
    let trusted = format!("trusted_owners = [\"{}\"]\n{POLICY}", roles.owner);
    assert_eq!(failed(&apply(&at("2027-06-01T00:00:00Z", &trusted), &mut superuser).await), "");
    clean(&admin, &roles).await;
}

pub(crate) async fn triggers_on_the_way_are_not_fired() {
    let (database, admin, roles) = stage("triggers").await;
    let sql = format!(
        "SET ROLE {}; CREATE TABLE app.rest PARTITION OF app.events DEFAULT; GRANT TRIGGER ON app.rest TO \
         {1}; \
         INSERT INTO app.events VALUES ('2026-11-02Z', 1); RESET ROLE",
        roles.owner, roles.attacker
    );
    admin.batch_execute(&sql).await.unwrap();
    let evil = format!(
        "CREATE FUNCTION app.steal() RETURNS trigger {STEALS}; \
         CREATE TRIGGER steals BEFORE DELETE ON app.rest FOR EACH ROW EXECUTE FUNCTION app.steal()"
    );
    as_attacker(&admin, &roles, &evil).await;
    let mut client = login(&database, &admin, &roles).await;
    let report = apply(&at(NOW, &format!("{POLICY}drain = true")), &mut client).await;
    assert_eq!(failed(&report), "");
    assert!(report.sets[0].notes.join("\n").contains("the trigger \"steals\""), "{report:?}");
    assert_eq!(texts(&admin, "SELECT who FROM app.loot").await, Vec::<String>::new());
    clean(&admin, &roles).await;
}

pub(crate) async fn a_mark_that_another_role_wrote_drops_nothing() {
    let (database, admin, roles) = stage("marks").await;
    let set: u32 = admin.query_one("SELECT 'app.events'::regclass::oid", &[]).await.unwrap().get(0);
    let mark = format!(
        "{{\"parent\":{set},\"set\":\"app.events\",\"bounds\":\"\",\
         \"at\":\"2020-01-01T00:00:00Z\",\"run\":\"1\"}}"
    );
    let forged =
        format!("CREATE TABLE app.mine (n int); COMMENT ON TABLE app.mine IS '[db-maintenance] {mark}'");
    as_attacker(&admin, &roles, &forged).await;
    let mut client = login(&database, &admin, &roles).await;
    let partitions = at(NOW, POLICY);
    let plan = partitions.plan(&mut client).await.unwrap();
    assert!(held(&plan).contains("app.mine: it carries the mark of this set, and belongs to"), "{plan}");
    for _ in 0..3 {
        apply(&partitions, &mut client).await;
    }
    assert_eq!(texts(&admin, "SELECT to_regclass('app.mine')::text").await, ["app.mine"]);

    use std::os::unix::fs::PermissionsExt as _;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), POLICY).unwrap();
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o666)).unwrap();
    let refused = db_maintenance::partitions::Policy::read(file.path()).unwrap_err().to_string();
    assert!(refused.contains("everybody on this machine may write it"), "{refused}");
    clean(&admin, &roles).await;
}

pub(crate) async fn a_table_that_was_swapped_between_look_and_drop_is_not_touched() {
    let (database, admin, roles) = stage("race").await;
    let mut client = login(&database, &admin, &roles).await;
    let partitions = at(NOW, POLICY);
    apply(&partitions, &mut client).await;
    // The next run will drop app.old. It waits behind a lock, while somebody swaps what the name means.
    let swapper = connect(database.url()).await;
    swapper.batch_execute("BEGIN; ALTER TABLE app.old RENAME TO hidden").await.unwrap();
    let sql =
        format!("CREATE TABLE app.old AS SELECT 'precious'; ALTER TABLE app.old OWNER TO {}", roles.owner);
    swapper.batch_execute(&sql).await.unwrap();
    let running = tokio::spawn(async move {
        let report = apply(&partitions, &mut client).await;
        (report, client)
    });
    let waits = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND database = \
        (SELECT oid FROM pg_database WHERE datname = current_database())";
    while !admin.query_one(waits, &[]).await.unwrap().get::<_, bool>(0) {
        tokio::task::yield_now().await;
    }
    swapper.batch_execute("COMMIT").await.unwrap();
    let (report, _client) = running.await.unwrap();
    assert!(failed(&report).contains("another table now"), "{report:?}");
    assert!(done(&report).iter().all(|done| !done.starts_with("drop")), "{report:?}");
    assert_eq!(texts(&admin, "SELECT * FROM app.old").await, ["precious"]);
    assert_eq!(texts(&admin, "SELECT count(*)::text FROM app.hidden").await, ["0"]);
    clean(&admin, &roles).await;
}
