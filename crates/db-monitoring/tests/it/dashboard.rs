//! The dashboard: who may see it, that names are harmless, that every page is there in each form, and what it
//! may do.

mod browser;
pub(crate) mod shop;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode};
use db_core::CheckStatus;
use db_monitoring::dashboard::{self, Access, Actions, Source};
use db_monitoring::panel::{Column, Panel, Table, Value};
use db_monitoring::server::Backend;
use db_monitoring::{CheckResult, Monitor, MonitoringConfig, Subject};
use diesel_async::SimpleAsyncConnection;
use serde_json::Value as Json;
use tower_service::Service;

use crate::{Ended, tell};
use browser::walk::PAGES;
use shop::{Shop, Tested};

const TOKEN: &str = "a token that nobody guesses";
/// What came back: status, headers as text, body.
struct Got {
    status: StatusCode,
    head: String,
    body: String,
}

struct Asking<'a> {
    method: Method,
    path: &'a str,
    headers: &'a [(&'a str, &'a str)],
    form: &'a str,
}

async fn ask(router: &Router, asking: Asking<'_>) -> Got {
    let mut request = Request::builder().method(asking.method).uri(asking.path);
    for (name, value) in asking.headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(asking.form.to_owned())).unwrap();
    let response = router.clone().call(request).await.unwrap();
    let (status, head) = (response.status(), format!("{:?}", response.headers()));
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    Got { status, head, body: String::from_utf8(bytes.to_vec()).unwrap() }
}

async fn get(router: &Router, path: &str) -> Got {
    get_with(router, path, &[]).await
}

async fn get_with(router: &Router, path: &str, headers: &[(&str, &str)]) -> Got {
    ask(router, Asking { method: Method::GET, path, headers, form: "" }).await
}

async fn post(router: &Router, path: &str, headers: &[(&str, &str)], form: &str) -> Got {
    ask(router, Asking { method: Method::POST, path, headers, form }).await
}

fn monitor() -> Monitor {
    let monitor = Monitor::new(MonitoringConfig { log_slow_queries: false, ..Default::default() });
    tell(&monitor, &[Ended { rows: 3, ..Ended::well("SELECT * FROM orders WHERE note = 'hunter2'", 900) }]);
    monitor
}

#[tokio::test]
async fn nobody_sees_anything_without_the_token() {
    let router = dashboard::router(Source::named("shop").monitor(monitor()), Access::token(TOKEN).unwrap());
    let router = Router::new().nest("/admin/performance", router.unwrap());
    for page in
        PAGES.into_iter().chain(["/queries.json", "/nothing", "/sessions", "/queries/0000000000000000"])
    {
        let path = format!("/admin/performance{}", if page == "/" { "" } else { page });
        for headers in [vec![], vec![("authorization", "Bearer wrong")], vec![("cookie", "dbp_session=1.00")]]
        {
            let got = get_with(&router, &path, &headers).await;
            assert_eq!(got.status, StatusCode::UNAUTHORIZED, "{path}");
            assert!(!got.body.contains("orders"), "{path}");
        }
        let got = post(&router, &path, &[], "pid=1&act=cancel").await;
        assert_eq!(got.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    let bearer = format!("Bearer {TOKEN}");
    let seen = get_with(&router, "/admin/performance/queries", &[("authorization", &bearer)]).await;
    assert!(seen.status == StatusCode::OK && seen.body.contains("SELECT orders"), "{}", seen.body);
    assert!(seen.head.contains("default-src 'self'") && seen.head.contains("no-store"), "{}", seen.head);
}

#[tokio::test]
async fn a_browser_signs_in_and_out() {
    let router = dashboard::router(Source::named("shop"), Access::token(TOKEN).unwrap()).unwrap();
    let router = Router::new().nest("/admin/performance", router);
    let wrong = post(&router, "/admin/performance/sign-in", &[], "token=nonsense").await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    let form = format!("to=%2Flocks&token={}", TOKEN.replace(' ', "+"));
    let right = post(&router, "/admin/performance/sign-in", &[], &form).await;
    assert_eq!(right.status, StatusCode::SEE_OTHER);
    assert!(right.head.contains("\"/admin/performance/locks\""), "{}", right.head);
    let cookie = right.head.split("dbp_session=").nth(1).unwrap().split(';').next().unwrap();
    let cookie = format!("dbp_session={cookie}");
    let seen = get_with(&router, "/admin/performance/locks", &[("cookie", &cookie)]).await;
    assert_eq!(seen.status, StatusCode::OK);
    // Where a form says that a browser is to go afterwards, it is a place of ours.
    for elsewhere in ["%2F%2Fevil.example", "https%3A%2F%2Fevil.example", "%2F%5Cevil.example"] {
        let form = format!("to={elsewhere}&token={}", TOKEN.replace(' ', "+"));
        let sent = post(&router, "/admin/performance/sign-in", &[], &form).await;
        assert!(!sent.head.contains("evil"), "{}", sent.head);
    }
    let out = post(&router, "/admin/performance/sign-out", &[("cookie", &cookie)], "").await;
    assert!(out.head.contains("Max-Age=0"), "{}", out.head);
}

#[tokio::test]
async fn every_page_is_there_in_each_form_whatever_the_process_knows() -> Tested {
    let shop = Shop::start().await?;
    let knows_nothing = dashboard::router(Source::named("shop"), Access::Layered)?;
    let knows_all = dashboard::router(shop.source(monitor()), Access::Layered)?;
    for router in [Router::new().nest("/a/b", knows_nothing), Router::new().nest("/a/b", knows_all)] {
        for page in PAGES {
            let path = format!("/a/b{}", if page == "/" { "" } else { page });
            let html = get(&router, &path).await;
            assert_eq!(html.status, StatusCode::OK, "{path}");
            for inline in [" style=", " onclick", "<style", "javascript:", "http://", "https://"] {
                assert!(!html.body.contains(inline), "{path} has {inline}: {}", html.body);
            }
            assert!(html.body.contains(r#"href="/a/b/queries""#), "{path} does not know where it is");
            let json = get_with(&router, &path, &[("accept", "application/json")]).await;
            let json: Json = serde_json::from_str(&json.body)?;
            assert!(!json["panels"].as_array().unwrap().is_empty(), "{path}");
            let by_name =
                get(&router, &format!("{}.json", if page == "/" { "/a/b/overview" } else { &path })).await;
            assert_eq!(serde_json::from_str::<Json>(&by_name.body)?["page"], json["page"], "{path}");
        }
        for nothing in
            ["/a/b/nothing", "/a/b/queries/xyz", "/a/b/tables/1", "/a/b/assets/no.js", "/a/b/..%2fx"]
        {
            assert_eq!(get(&router, nothing).await.status, StatusCode::NOT_FOUND, "{nothing}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_page_of_a_statement_says_what_it_costs_and_who_asks() -> Tested {
    let monitor = monitor();
    let slow = monitor.slow_queries(1).remove(0);
    let router = dashboard::router(Source::named("shop").monitor(monitor), Access::Layered)?;
    let got = get(&router, &format!("/queries/{}.json", slow.fingerprint)).await;
    let json: Json = serde_json::from_str(&got.body)?;
    assert_eq!(json["panels"][1]["figures"]["calls"], 1);
    assert_eq!(json["panels"][2]["tables"]["sites"][0]["scope"], "job");
    assert!(got.body.contains("note = ?") && !got.body.contains("hunter2"), "{}", got.body);
    Ok(())
}

#[tokio::test]
async fn names_that_are_markup_stay_names() -> Tested {
    const HOSTILE: &str = r#"<script>alert(1)</script>"onmouseover="x' &amp; {{7*7}}"#;
    let checks = vec![
        CheckResult::new("x", HOSTILE, CheckStatus::Critical)
            .about(Subject::new(db_monitoring::SubjectKind::Table, HOSTILE))
            .saying(HOSTILE)
            .fix(HOSTILE, HOSTILE),
    ];
    let checks = std::sync::Arc::new(checks);
    let table = Table::new(HOSTILE, [Column::new(HOSTILE, HOSTILE)])
        .titled(HOSTILE)
        .row([Value::Code(HOSTILE.into())]);
    let plot = db_monitoring::panel::Plot::new(HOSTILE, HOSTILE, HOSTILE).over(vec![1.0]).series(
        HOSTILE,
        1,
        vec![None],
    );
    let panel = Panel::new(HOSTILE, HOSTILE).note(HOSTILE).table(table).plot(plot).sql(HOSTILE);
    let source = Source::named(HOSTILE).checks(move || Some(std::sync::Arc::clone(&checks))).feed(
        "cache",
        move || {
            let panel = panel.clone();
            async move { vec![panel] }
        },
    );
    let router = dashboard::router(source, Access::Layered)?;
    for page in ["/", "/checks", "/cache", "/cache?q=%3Cscript%3E&sort=%22%3E%3Cscript%3E.x", "/%3Cscript%3E"]
    {
        let body = get(&router, page).await.body;
        assert!(!body.contains("<script>alert") && !body.contains("\"onmouseover"), "{page}: {body}");
        assert!(!body.contains("\"><script>"), "{page}");
    }
    Ok(())
}

#[tokio::test]
async fn a_session_is_ended_only_where_that_is_allowed_by_a_form_of_ours_and_is_still_the_same() -> Tested {
    let shop = Shop::start().await?;
    let victim = shop.database.connect().await?;
    let mut own = shop.database.connect().await?;
    let _ = victim;
    let mut sleeper = shop.database.connect().await?;
    sleeper.batch_execute("SET application_name = 'sleeper'; BEGIN").await?;
    let found = async || -> Option<Backend> {
        let latest = shop.collector.latest();
        latest
            .activity
            .get()
            .ok()?
            .iter()
            .find(|one| one.application_name.as_deref() == Some("sleeper"))
            .cloned()
    };
    db_testkit::until("the sleeper is seen", async || found().await.is_some()).await;
    let backend = found().await.unwrap();
    let (pid, since) = (backend.pid, format!("{:.6}", backend.backend_start.unwrap()));
    let alive = async |own: &mut diesel_async::AsyncPgConnection| -> Result<bool, diesel::result::Error> {
        #[derive(diesel::QueryableByName)]
        struct There {
            #[diesel(sql_type = diesel::sql_types::Bool)]
            there: bool,
        }
        let text = format!("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = {pid}) AS there");
        Ok(diesel_async::RunQueryDsl::get_result::<There>(diesel::sql_query(text), own).await?.there)
    };

    let forbidden = dashboard::router(shop.source(monitor()), Access::Layered)?;
    let form = format!("act=terminate&pid={pid}&since={since}&csrf=1.00");
    assert_eq!(post(&forbidden, "/sessions", &[], &form).await.status, StatusCode::NOT_FOUND);
    assert!(!get(&forbidden, "/locks").await.body.contains("Terminate"));

    let (said, heard) = std::sync::mpsc::channel();
    let actions = Actions::new(shop.open()).audited_by(move |acted| {
        let _ = said.send(acted.clone());
    });
    let router = dashboard::router(shop.source(monitor()).actions(actions), Access::Layered)?;
    let page = get(&router, "/locks").await.body;
    let csrf = page.split(r#"name="csrf" value=""#).nth(1).unwrap().split('"').next().unwrap().to_owned();
    let form = |act: &str, since: &str, csrf: &str| format!("act={act}&pid={pid}&since={since}&csrf={csrf}");
    let refused = [
        (form("terminate", &since, "1.00"), vec![], StatusCode::FORBIDDEN),
        (form("terminate", &since, &csrf), vec![("sec-fetch-site", "cross-site")], StatusCode::FORBIDDEN),
        (
            form("terminate", &since, &csrf),
            vec![("origin", "http://evil"), ("host", "db")],
            StatusCode::FORBIDDEN,
        ),
        (form("terminate", "1.0", &csrf), vec![], StatusCode::CONFLICT),
        (form("drop", &since, &csrf), vec![], StatusCode::BAD_REQUEST),
        (form("terminate", "now()", &csrf), vec![], StatusCode::BAD_REQUEST),
    ];
    for (form, headers, status) in refused {
        assert_eq!(post(&router, "/sessions", &headers, &form).await.status, status, "{form}");
        assert!(alive(&mut own).await?, "{form}");
    }
    let done =
        post(&router, "/sessions", &[("sec-fetch-site", "same-origin")], &form("terminate", &since, &csrf))
            .await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.body);
    db_testkit::until("it is gone", async || !alive(&mut own).await.unwrap_or(true)).await;
    let acted: Vec<_> = heard.try_iter().map(|acted| (acted.pid, acted.done.clone())).collect();
    assert_eq!(acted.last(), Some(&(i32::try_from(pid)?, Ok(true))), "{acted:?}");
    Ok(())
}
