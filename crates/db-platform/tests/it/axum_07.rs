//! A service on axum 0.7 has sessions as arguments, and routers of axum 0.8 as services.

use axum_07::Router;
use axum_07::body::Body;
use axum_07::http::{Request, StatusCode};
use axum_07::routing::get;
use db_platform::Session;
use db_platform::replica_routing::SessionLayer;
use tower_service::Service;

async fn answer(app: &mut Router, path: &str) -> (StatusCode, String) {
    let request = Request::builder().uri(path).body(Body::empty()).unwrap();
    let response = app.call(request).await.unwrap();
    let status = response.status();
    let body = axum_07::body::to_bytes(response.into_body(), 1_000).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_handler_of_axum_0_7_takes_the_requests_session() {
    let handler = async |session: Session| match Session::current() {
        Some(current) if current.is(&session) => "the task's",
        _ => "another",
    };
    let routes = Router::new().route("/", get(handler));
    let mut app = routes.clone().layer(SessionLayer::cookie("seen"));
    assert_eq!(answer(&mut app, "/").await, (StatusCode::OK, "the task's".to_owned()));
    let mut bare = routes;
    let (status, said) = answer(&mut bare, "/").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(said.contains("SessionLayer"), "{said}");
}

/// As `/metrics` and the dashboard are.
#[tokio::test]
async fn a_router_of_axum_0_8_is_a_service_of_axum_0_7() {
    let newer = axum::Router::new().route("/metrics", axum::routing::get(async || "up 1"));
    let mut app = Router::new().nest_service("/db", newer);
    assert_eq!(answer(&mut app, "/db/metrics").await, (StatusCode::OK, "up 1".to_owned()));
}
