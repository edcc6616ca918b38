//! Carries what a session has written from one HTTP request to the next, in a header or in a cookie.
//!
//! The client keeps it, so any process may serve the next request. It is no secret and needs no signature: a
//! forged one costs a read from the primary.

#[cfg(feature = "axum-07")]
mod extract_07;

use std::pin::Pin;
use std::sync::Once;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{COOKIE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use crate::session::Session;
use crate::written::Written;

/// A cookie is of no use for longer than any standby that answers may be behind.
const LIFETIME: Duration = Duration::from_secs(86_400);

/// How it travels.
#[derive(Debug, Clone)]
enum Carrier {
    Header(HeaderName),
    Cookie { name: &'static str, secure: bool },
}

/// What becomes of an error of the inner service.
pub trait OnError<E, R>: Clone {
    /// The response that the error becomes, or the error as it is.
    ///
    /// # Errors
    /// The service's own, where no response is made of it.
    fn respond(&self, error: E) -> Result<Response<R>, E>;
}

/// Errors go out as they are.
#[derive(Debug, Clone, Copy, Default)]
pub struct PassOn;

impl<E, R> OnError<E, R> for PassOn {
    fn respond(&self, error: E) -> Result<Response<R>, E> {
        Err(error)
    }
}

impl<F, E, R> OnError<E, R> for F
where
    F: Fn(E) -> Response<R> + Clone,
{
    fn respond(&self, error: E) -> Result<Response<R>, E> {
        Ok(self(error))
    }
}

/// Gives each request its [`Session`], as the [current](Session::current) one and among the request's
/// extensions, and the response what it has [written](Written).
///
/// With axum: `Router::layer(SessionLayer::header(name))`. With the feature `axum`, handlers take a
/// [`Session`] as an argument.
///
/// An error of the inner service has no headers that could carry anything. Where the layer lies outside of
/// the one that makes responses of errors, nothing is lost; else say with [`SessionLayer::on_error`] what
/// response an error is. A layer inside another one goes on in its session.
#[derive(Debug, Clone)]
pub struct SessionLayer<H = PassOn> {
    carrier: Carrier,
    on_error: H,
}

impl SessionLayer {
    /// In a header of this name, which a client sends back as it got it.
    pub fn header(name: HeaderName) -> Self {
        SessionLayer { carrier: Carrier::Header(name), on_error: PassOn }
    }

    /// In a cookie of this name, which browsers send back by themselves, for a day, and over https only.
    ///
    /// Of several requests that a browser sends at once, the answer that arrives last leaves its cookie.
    /// Where these write, and what all of them wrote must be seen, keep it in Redis.
    pub fn cookie(name: &'static str) -> Self {
        SessionLayer { carrier: Carrier::Cookie { name, secure: true }, on_error: PassOn }
    }
}

impl<H> SessionLayer<H> {
    /// The same, whose cookie is sent over plain http, too: for development. A header is not changed.
    #[must_use]
    pub fn without_secure(self) -> Self {
        let carrier = match self.carrier {
            Carrier::Cookie { name, .. } => Carrier::Cookie { name, secure: false },
            header => header,
        };
        SessionLayer { carrier, ..self }
    }

    /// The same, which makes this response of an error of the inner service: what was written before it is
    /// not lost.
    ///
    /// ```
    /// # use db_replica_routing::SessionLayer;
    /// # use http::{Response, StatusCode};
    /// let layer = SessionLayer::cookie("written").on_error(|error: std::io::Error| {
    ///     let mut response = Response::new(error.to_string());
    ///     *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    ///     response
    /// });
    /// ```
    #[must_use]
    pub fn on_error<F>(self, on_error: F) -> SessionLayer<F> {
        SessionLayer { carrier: self.carrier, on_error }
    }
}

impl<S, H: Clone> Layer<S> for SessionLayer<H> {
    type Service = SessionService<S, H>;

    fn layer(&self, inner: S) -> SessionService<S, H> {
        SessionService { inner, layer: self.clone() }
    }
}

/// A service whose requests have a session; made by [`SessionLayer`].
#[derive(Debug, Clone)]
pub struct SessionService<S, H = PassOn> {
    inner: S,
    layer: SessionLayer<H>,
}

impl<S, H, B, R> Service<Request<B>> for SessionService<S, H>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    H: OnError<S::Error, R> + Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let SessionLayer { carrier, on_error } = self.layer.clone();
        let brought = carrier.take(request.headers());
        let is_outermost = request.extensions().get::<Session>().is_none();
        let session = match request.extensions().get::<Session>() {
            Some(outer) => outer.clone(),
            None => brought.map_or_else(Session::new, |text| Session::parse(&text)),
        };
        request.extensions_mut().insert(session.clone());
        // Called in the scope as well: a service may do its work here and not in its future.
        let answering = session.clone().sync_scope(|| self.inner.call(request));
        Box::pin(async move {
            let answered = session.clone().scope(answering).await;
            let answered = answered.or_else(|error| on_error.respond(error));
            if answered.is_err() && is_outermost && session.news().is_some() {
                warn_of_lost_news();
            }
            let mut response = answered?;
            if let Some(news) = session.news() {
                carrier.put(news, response.headers_mut());
            }
            Ok(response)
        })
    }
}

/// Says once in a process what the way out is.
fn warn_of_lost_news() {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        tracing::warn!(
            "a service failed after it had written: no response carries what its session knows. Put SessionLayer \
             outside of the layer that makes responses of errors, or give it on_error"
        );
    });
}

impl Carrier {
    fn take(&self, headers: &HeaderMap) -> Option<String> {
        let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
        match self {
            Carrier::Header(name) => headers.get(name).and_then(text),
            Carrier::Cookie { name, .. } => {
                headers.get_all(COOKIE).iter().filter_map(text).find_map(|cookies| {
                    cookies.split(';').find_map(|cookie| {
                        let (key, value) = cookie.trim().split_once('=')?;
                        (key == *name).then(|| value.to_owned())
                    })
                })
            }
        }
    }

    fn put(&self, written: Written, headers: &mut HeaderMap) {
        let (name, text) = match self {
            Carrier::Header(name) => (name.clone(), written.to_string()),
            Carrier::Cookie { name, secure } => {
                let (lifetime, secure) = (LIFETIME.as_secs(), if *secure { "; Secure" } else { "" });
                let attributes = format!("Max-Age={lifetime}; Path=/; HttpOnly; SameSite=Lax{secure}");
                (SET_COOKIE, format!("{name}={written}; {attributes}"))
            }
        };
        let Ok(value) = HeaderValue::from_str(&text) else { return };
        match self {
            Carrier::Header(_) => drop(headers.insert(name, value)),
            Carrier::Cookie { .. } => drop(headers.append(name, value)),
        }
    }
}

/// The session that the layer opened for a request, for extractors.
#[cfg(any(feature = "axum", feature = "axum-07"))]
pub(crate) fn session_of(parts: &http::request::Parts) -> Result<Session, (http::StatusCode, &'static str)> {
    let session = parts.extensions.get::<Session>().cloned();
    session.ok_or((http::StatusCode::INTERNAL_SERVER_ERROR, "this route lacks the SessionLayer"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Token;
    use db_core::Lsn;
    use std::convert::Infallible;

    /// Adds 10 to what the request's session has written, as a handler that writes does.
    #[derive(Clone)]
    struct Writes;

    impl Service<Request<()>> for Writes {
        type Response = Response<()>;
        type Error = Infallible;
        type Future = Pin<Box<dyn Future<Output = Result<Response<()>, Infallible>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<()>) -> Self::Future {
            let own = request.extensions().get::<Session>().unwrap().clone();
            Box::pin(async move {
                let session = Session::current().unwrap();
                assert_eq!(session.token(), own.token(), "both are the same session");
                let before = session.token().map_or(0, |token| token.position.0);
                session.merge(Written::UpTo(Token { system: 10, timeline: 1, position: Lsn(before + 16) }));
                Ok(Response::new(()))
            })
        }
    }

    async fn check(layer: SessionLayer, sent: (HeaderName, &str), got: (HeaderName, &str)) {
        let mut request = Request::new(());
        request.headers_mut().insert(sent.0, HeaderValue::from_str(sent.1).unwrap());
        let response = layer.layer(Writes).call(request).await.unwrap();
        assert_eq!(response.headers().get(&got.0).unwrap(), got.1, "{}", sent.1);
    }

    #[tokio::test]
    async fn the_token_goes_on_where_the_last_response_left_it() {
        let name = || HeaderName::from_static("db-token");
        let header = || SessionLayer::header(name());
        check(header(), (name(), "1.a.1.10"), (name(), "1.a.1.20")).await;
        let cookie = || SessionLayer::cookie("t");
        let set = |token: &'static str| (SET_COOKIE, token);
        let (first, second) = (
            "t=1.a.1.10; Max-Age=86400; Path=/; HttpOnly; SameSite=Lax",
            "t=1.a.1.20; Max-Age=86400; Path=/; HttpOnly; SameSite=Lax; Secure",
        );
        check(cookie(), (COOKIE, "x=1; t=1.a.1.10; y=2"), set(second)).await;
        check(cookie().without_secure(), (COOKIE, "tt=1.a.1.10"), set(first)).await;
    }

    /// Writes, and fails afterwards.
    #[derive(Clone)]
    struct Fails;

    impl Service<Request<()>> for Fails {
        type Response = Response<()>;
        type Error = &'static str;
        type Future = Pin<Box<dyn Future<Output = Result<Response<()>, &'static str>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<()>) -> Self::Future {
            let written = Writes.call(request);
            Box::pin(async {
                let Ok(_) = written.await;
                Err("too late")
            })
        }
    }

    #[tokio::test]
    async fn what_was_written_before_an_error_is_carried_on() {
        let layer = || SessionLayer::header(HeaderName::from_static("seen"));
        let answer = |_: &'static str| Response::new(());
        let response = layer().on_error(answer).layer(Fails).call(Request::new(())).await.unwrap();
        assert_eq!(response.headers()["seen"], "1.a.1.10");
        // The outer layer sees the response that something between the two has made of the error.
        let inner = layer().on_error(answer).layer(Fails);
        let response = layer().layer(inner).call(Request::new(())).await.unwrap();
        assert_eq!(response.headers()["seen"], "1.a.1.10");
        assert_eq!(layer().layer(Fails).call(Request::new(())).await.unwrap_err(), "too late");
    }

    #[tokio::test]
    async fn what_cannot_be_read_may_have_been_written_by_another_version() {
        let mut request = Request::new(());
        request.headers_mut().insert("seen", HeaderValue::from_static("2.of.another.version"));
        let layer = SessionLayer::header(HeaderName::from_static("seen"));
        let response = layer.layer(Writes).call(request).await.unwrap();
        let seen = response.headers()["seen"].to_str().unwrap();
        assert!(matches!(seen.parse(), Ok(Written::Before(_))), "{seen}");
    }
}
