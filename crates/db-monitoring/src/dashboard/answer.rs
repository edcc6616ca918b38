//! Answers one request: who may ask, what for, and in which form.

use std::sync::Arc;
use std::time::SystemTime;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{OriginalUri, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, SET_COOKIE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use serde_json::json;

use super::access::Gate;
use super::actions::Act;
use super::load::Texts;
use super::page::{self, Frame};
use super::request::{Asked, wants_json};
use super::{Source, assets, pages};

/// The longest form that is read, in bytes.
const LONGEST_FORM: usize = 8 * 1024;
/// What every answer says to a browser.
const HEADERS: [(HeaderName, &str); 5] = [
    (
        HeaderName::from_static("content-security-policy"),
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'none'",
    ),
    (HeaderName::from_static("x-content-type-options"), "nosniff"),
    (HeaderName::from_static("referrer-policy"), "same-origin"),
    (HeaderName::from_static("x-frame-options"), "DENY"),
    (HeaderName::from_static("vary"), "accept, x-fragment"),
];

pub(super) struct Shared {
    pub(super) gate: Gate,
    pub(super) source: Source,
    pub(super) texts: Texts,
}

pub(super) async fn answer(
    State(shared): State<Arc<Shared>>,
    OriginalUri(original): OriginalUri,
    request: Request,
) -> Response<Body> {
    let base = base(original.path(), request.uri().path());
    let mut response = shared.answer(&base, request).await;
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Where the dashboard is mounted, without a slash at its end.
fn base(original: &str, inner: &str) -> String {
    let original = original.strip_suffix(inner).unwrap_or(original);
    original.trim_end_matches('/').to_owned()
}

impl Shared {
    async fn answer(&self, base: &str, request: Request) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let (path, headers, now) = (parts.uri.path().to_owned(), &parts.headers, SystemTime::now());
        if let Some(file) = assets::file(&path) {
            return file;
        }
        let is_json = wants_json(&path, headers);
        if parts.method == Method::POST && path == "/sign-in" {
            return self.sign_in(base, headers, &form(body).await, now);
        }
        if !self.gate.admits(headers, now) {
            return self.refuse(base, &path, is_json, headers);
        }
        match parts.method {
            Method::GET | Method::HEAD => {
                self.page(base, &path, parts.uri.query().unwrap_or_default(), headers, is_json, now).await
            }
            Method::POST if path == "/sign-out" => {
                let mut response = redirect(page::home(base));
                set(&mut response, SET_COOKIE, &Gate::no_cookie(base));
                response
            }
            Method::POST if path == "/sessions" => self.act(base, headers, &form(body).await, now).await,
            _ => plain(StatusCode::METHOD_NOT_ALLOWED, "pages are read with GET\n"),
        }
    }

    async fn page(
        &self,
        base: &str,
        path: &str,
        query: &str,
        headers: &HeaderMap,
        is_json: bool,
        now: SystemTime,
    ) -> Response<Body> {
        let path = path.trim_matches('/').trim_end_matches(".json");
        let path = if path == "overview" { "" } else { path };
        let asked = Asked::of(query, now);
        let Some(mut shown) = pages::page(&self.source, &self.texts, path, &asked).await else {
            return match is_json {
                true => json_answer(StatusCode::NOT_FOUND, &json!({ "error": "there is no such page" })),
                false => {
                    html(StatusCode::NOT_FOUND, page::notice(base, "No such page", "There is no page here."))
                }
            };
        };
        asked.apply(&mut shown.panels);
        if is_json {
            let panels: Vec<_> = shown.panels.iter().map(crate::panel::Panel::to_json).collect();
            let value = json!({
                "schema": "db-platform.page/1",
                "page": shown.title,
                "service": self.source.service,
                "state": shown.state,
                "panels": panels,
            });
            return json_answer(StatusCode::OK, &value);
        }
        let csrf = self.source.actions.as_ref().map(|_| self.gate.csrf(now));
        let frame = Frame {
            base,
            service: &self.source.service,
            path,
            title: &shown.title,
            asked: &asked,
            csrf: csrf.as_deref(),
            has_sign_in: self.gate.has_sign_in(),
            state: &shown.state,
        };
        if headers.contains_key("x-fragment") {
            return html(StatusCode::OK, page::fragment(frame, &shown.panels));
        }
        html(StatusCode::OK, page::whole(frame, &shown.panels))
    }

    fn refuse(&self, base: &str, path: &str, is_json: bool, headers: &HeaderMap) -> Response<Body> {
        let mut response = if is_json || headers.contains_key("x-fragment") {
            json_answer(
                StatusCode::UNAUTHORIZED,
                &json!({ "error": "send the token: Authorization: Bearer …" }),
            )
        } else {
            html(StatusCode::UNAUTHORIZED, page::sign_in(base, path, None))
        };
        set(&mut response, WWW_AUTHENTICATE, "Bearer");
        response
    }

    fn sign_in(&self, base: &str, headers: &HeaderMap, form: &Form, now: SystemTime) -> Response<Body> {
        // Only a path of ours, or the page would send people anywhere.
        let to =
            form.get("to").filter(|to| to.starts_with('/') && !to.starts_with("//") && !to.contains('\\'));
        let to = to.unwrap_or("/");
        if !self.gate.knows(form.get("token").unwrap_or_default()) {
            tracing::warn!("somebody sent a wrong token to the dashboard");
            return html(StatusCode::UNAUTHORIZED, page::sign_in(base, to, Some("That is not the token.")));
        }
        let is_secure = headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
        let mut response =
            redirect(&if to == "/" { page::home(base).to_owned() } else { format!("{base}{to}") });
        set(&mut response, SET_COOKIE, &self.gate.cookie(base, is_secure, now));
        response
    }

    async fn act(&self, base: &str, headers: &HeaderMap, form: &Form, now: SystemTime) -> Response<Body> {
        let say = |status, title: &str, text: &str| html(status, page::notice(base, title, text));
        let Some(actions) = &self.source.actions else {
            return say(StatusCode::NOT_FOUND, "Not possible", "Nobody may end sessions from here.");
        };
        if !self.gate.is_own_form(headers, form.get("csrf").unwrap_or_default(), now) {
            let text = "The form is too old, or came from another site. Nothing was done.";
            return say(StatusCode::FORBIDDEN, "Not done", text);
        }
        let act = form.get("act").and_then(Act::of);
        let pid = form.get("pid").and_then(|pid| pid.parse().ok());
        let since = form.get("since").filter(|since| since.parse::<f64>().is_ok_and(f64::is_finite));
        let (Some(act), Some(pid), Some(since)) = (act, pid, since) else {
            return say(StatusCode::BAD_REQUEST, "Not done", "The form is not complete. Nothing was done.");
        };
        match actions.act(act, pid, since).await.done {
            Ok(true) => say(StatusCode::OK, "Done", &format!("The server did it: {} {pid}.", act.word())),
            Ok(false) => {
                say(StatusCode::CONFLICT, "Not done", "That session is gone, or is not the same any more.")
            }
            Err(error) => say(StatusCode::BAD_GATEWAY, "Not done", &error),
        }
    }
}

/// The fields of a form.
struct Form(Vec<(String, String)>);

impl Form {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

async fn form(body: Body) -> Form {
    let bytes = to_bytes(body, LONGEST_FORM).await.unwrap_or_else(|_| Bytes::new());
    Form(url::form_urlencoded::parse(&bytes).into_owned().collect())
}

fn html(status: StatusCode, page: maud::Markup) -> Response<Body> {
    with(status, "text/html; charset=utf-8", page.into_string())
}

fn json_answer(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    with(status, "application/json", value.to_string())
}

fn plain(status: StatusCode, text: &str) -> Response<Body> {
    with(status, "text/plain; charset=utf-8", text.to_owned())
}

fn with(status: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn redirect(to: &str) -> Response<Body> {
    let mut response = plain(StatusCode::SEE_OTHER, "");
    set(&mut response, LOCATION, to);
    response
}

fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::base;

    #[test]
    fn where_it_is_mounted_is_found_out_from_the_path() {
        for (original, inner, mounted) in [
            ("/", "/", ""),
            ("/queries", "/queries", ""),
            ("/admin/performance", "/", "/admin/performance"),
            ("/admin/performance/", "/", "/admin/performance"),
            ("/admin/performance/queries/ab", "/queries/ab", "/admin/performance"),
        ] {
            assert_eq!(base(original, inner), mounted, "{original}");
        }
    }
}
