//! Requests to a web service see what earlier requests of the same client wrote.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{Request, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use db_platform::replica_routing::SessionLayer;
use db_platform::{Db, Error, Session};
use db_testkit::{Cluster, until};
use diesel::sql_query;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use tower_service::Service;

use crate::{Number, config, port, port_of};

type Answer = Result<String, (StatusCode, String)>;

fn failed(error: Error) -> (StatusCode, String) {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

async fn write(State(db): State<Db>, session: Session) -> Answer {
    let insert = async |conn: &mut _| {
        sql_query("INSERT INTO notes VALUES (1)").execute(conn).await?;
        Ok::<_, Error>(String::new())
    };
    db.in_session(&session).transaction(insert).await.map_err(failed)
}

/// By the session of the task: no argument tells.
async fn count(State(db): State<Db>) -> Answer {
    let count =
        async |conn: &mut _| sql_query("SELECT count(*) AS n FROM notes").get_result::<Number>(conn).await;
    db.session().read(count).await.map(|row| row.n.to_string()).map_err(failed)
}

async fn send(app: &mut Router, method: &str, cookie: Option<&str>) -> Response {
    let mut request = Request::builder().method(method).uri("/notes");
    if let Some(cookie) = cookie {
        request = request.header(COOKIE, cookie);
    }
    app.call(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn text(response: Response) -> String {
    assert_eq!(response.status(), StatusCode::OK);
    String::from_utf8(to_bytes(response.into_body(), 1_000).await.unwrap().to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_sees_what_it_wrote_in_an_earlier_request() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let mut settings = config(&cluster);
    settings.router.max_lag = Duration::from_secs(3_600);
    let db = Db::connect(settings).await.unwrap();
    db.transaction::<_, Error>(async |conn| Ok(conn.batch_execute("CREATE TABLE notes (n int8)").await?))
        .await
        .unwrap();
    cluster.wait_until_caught_up(1).await.unwrap();
    let standby = port_of(&cluster.standby_urls()[0]);
    until("the standby answers", async || db.read(port).await.unwrap() == standby).await;
    cluster.pause_replay(1).await.unwrap();

    let routes = Router::new().route("/notes", post(write)).route("/notes", get(count)).with_state(db);
    let mut app = routes.clone().layer(SessionLayer::cookie("seen"));
    let written = send(&mut app, "POST", None).await;
    let cookie = written.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    assert_eq!(text(send(&mut app, "GET", Some(&cookie)).await).await, "1");
    assert_eq!(text(send(&mut app, "GET", None).await).await, "0", "somebody else is served by the standby");

    let mut bare = routes;
    assert_eq!(send(&mut bare, "POST", None).await.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(text(send(&mut bare, "GET", None).await).await, "0");
}
