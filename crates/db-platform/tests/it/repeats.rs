//! Handlers of a web service that ask for each of many rows alone are found, also at once and in tasks.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use db_core::WorkScope;
use db_platform::insight::repeats::{Finding, Label, RepeatsMode, RepeatsWatch};
use db_platform::{Config, Db, Environment, Error};
use db_testkit::TestDatabase;
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::future::join_all;
use tower_service::Service;

diesel::table! {
    pets (id) {
        id -> Integer,
        name -> Text,
    }
}

const PETS: std::ops::RangeInclusive<i32> = 1..=8;

async fn pet(db: Db, id: i32) -> Result<String, Error> {
    db.read(async move |conn: &mut AsyncPgConnection| {
        pets::table.find(id).select(pets::name).first(conn).await
    })
    .await
}

fn listed(names: Vec<Result<String, Error>>) -> String {
    names.into_iter().map(Result::unwrap).collect::<Vec<_>>().join(" ")
}

async fn one_by_one(State(db): State<Db>) -> String {
    let mut names = Vec::new();
    for id in PETS {
        names.push(pet(db.clone(), id).await);
    }
    listed(names)
}

async fn at_once(State(db): State<Db>) -> String {
    listed(join_all(PETS.map(|id| pet(db.clone(), id))).await)
}

async fn in_tasks(State(db): State<Db>) -> String {
    let tasks = PETS.map(|id| tokio::spawn(WorkScope::carry(pet(db.clone(), id))));
    listed(join_all(tasks).await.into_iter().map(Result::unwrap).collect())
}

async fn renamed(State(db): State<Db>) -> String {
    for id in PETS {
        let rename = async move |conn: &mut AsyncPgConnection| {
            let update = diesel::update(pets::table.find(id)).set(pets::name.eq(format!("pet {id}")));
            Ok(update.execute(conn).await?)
        };
        db.transaction::<_, Error>(rename).await.unwrap();
    }
    String::new()
}

async fn batch(State(db): State<Db>) -> String {
    let ids: Vec<i32> = PETS.collect();
    let names = db
        .read(async move |conn: &mut AsyncPgConnection| {
            let all = pets::table.filter(pets::id.eq_any(ids)).order(pets::id);
            all.select(pets::name).load::<String>(conn).await
        })
        .await;
    names.unwrap().join(" ")
}

/// Page by page, each from where the last one ended.
async fn pages(State(db): State<Db>) -> String {
    let mut names = Vec::new();
    let mut last = 0;
    loop {
        let page: Vec<(i32, String)> = db
            .read(async move |conn: &mut AsyncPgConnection| {
                let behind = pets::table.filter(pets::id.gt(last)).order(pets::id).limit(3);
                behind.select((pets::id, pets::name)).load(conn).await
            })
            .await
            .unwrap();
        let Some((id, _)) = page.last() else { break };
        last = *id;
        names.extend(page.into_iter().map(|(_, name)| name));
    }
    names.join(" ")
}

async fn one(State(db): State<Db>) -> String {
    pet(db, 3).await.unwrap()
}

/// As services name a unit of work: by its route.
async fn scoped(request: Request, next: Next) -> Response {
    let name = format!("{} {}", request.method(), request.uri().path());
    WorkScope::named(name).run(next.run(request)).await
}

async fn send(app: &Router, path: &str) {
    let request = Request::builder().uri(path).body(Body::empty()).unwrap();
    assert_eq!(app.clone().call(request).await.unwrap().status(), StatusCode::OK, "{path}");
}

async fn service() -> (TestDatabase, Router, RepeatsWatch) {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    conn.batch_execute(
        "CREATE TABLE pets (id int PRIMARY KEY, name text NOT NULL);
         INSERT INTO pets SELECT i, 'pet ' || i FROM generate_series(1, 20) i",
    )
    .await
    .unwrap();
    let mut config = Config::new(Environment::Test, database.url().parse().unwrap());
    config.cache = None;
    let watch = RepeatsWatch::new(RepeatsMode::Metric);
    let db = Db::connect_with(config, [watch.part()]).await.unwrap();
    let app = Router::new()
        .route("/one_by_one", get(one_by_one))
        .route("/at_once", get(at_once))
        .route("/in_tasks", get(in_tasks))
        .route("/renamed", get(renamed))
        .route("/batch", get(batch))
        .route("/pages", get(pages))
        .route("/one", get(one))
        .layer(from_fn(scoped))
        .with_state(db);
    (database, app, watch)
}

fn told(found: &[Finding]) -> Vec<(&str, Label, usize)> {
    found.iter().map(|one| (one.scope.as_str(), one.label, one.count)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_way_to_ask_for_rows_alone_is_found_with_its_line() {
    let (_database, app, watch) = service().await;
    for (path, label) in [
        ("/one_by_one", Label::NPlusOne),
        ("/at_once", Label::NPlusOne),
        ("/in_tasks", Label::NPlusOne),
        ("/renamed", Label::LoopWrite),
    ] {
        send(&app, path).await;
        let found = watch.findings();
        assert_eq!(told(&found), [(format!("GET {path}").as_str(), label, 8)], "{found:?}");
        assert!(found[0].callsite.as_deref().unwrap().contains("repeats.rs"), "{found:?}");
        assert!(found[0].statement.contains("pets"), "{found:?}");
        watch.clear();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_pages_and_many_requests_at_once_are_quiet() {
    let (_database, app, watch) = service().await;
    // Eight requests for one row each are eight units of work, and so are eight batches.
    join_all(PETS.map(|_| send(&app, "/one"))).await;
    join_all(PETS.map(|_| send(&app, "/batch"))).await;
    send(&app, "/pages").await;
    watch.assert_no_repeats();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[should_panic(expected = "n+1")]
async fn the_guard_of_a_test_fails_it() {
    let (_database, app, watch) = service().await;
    send(&app, "/in_tasks").await;
    watch.assert_no_n_plus_one();
}
