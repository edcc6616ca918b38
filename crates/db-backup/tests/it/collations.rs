//! Indexes of a restored server that another library has sorted are named.

use db_backup::restore::{Risks, Target, risks};
use db_backup::session::Plain;
use db_testkit::skip;

use crate::live::Live;

#[tokio::test(flavor = "multi_thread")]
async fn indexes_that_another_library_has_sorted_are_named_and_no_others() {
    let live = Live::start(None, &[]).await;
    if skip::without_icu(&mut live.connect().await).await {
        return;
    }
    live.run(
        "CREATE TABLE people (id int PRIMARY KEY, name text COLLATE \"de-x-icu\", plain text COLLATE \"C\")",
    )
    .await;
    live.run("CREATE INDEX by_name ON people (name); CREATE INDEX by_plain ON people (plain)").await;
    live.take().await;
    live.archive().await;
    let looked = async |name: &str| -> Risks {
        let config = live.restore_to(name, Target::Latest);
        let mut restored = live.restored(&config).await.unwrap();
        restored.ready().unwrap();
        let login = live.server.primary_url().parse().unwrap();
        risks(&config.directory, &login, &Plain).await.unwrap()
    };
    assert_eq!(looked("same").await, Risks::default());

    // What an older library would have left.
    live.run("UPDATE pg_collation SET collversion = '1.2.3' WHERE collname = 'de-x-icu'").await;
    live.archive().await;
    let found = looked("other").await;
    assert_eq!(found.indexes.len(), 1, "{found:?}");
    let said = found.indexes[0].to_string();
    assert!(said.starts_with("public.by_name of app was sorted by version 1.2.3 of de-x-icu, and"), "{said}");
    assert_eq!(found.not_looked.len(), 0, "{found:?}");
}
