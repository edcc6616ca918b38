//! The session of a request as an argument of a handler of axum 0.7.

use std::pin::Pin;

use axum_core_04::extract::FromRequestParts;
use http::StatusCode;
use http::request::Parts;

use crate::session::Session;

/// As for axum 0.8: without the [`SessionLayer`](crate::SessionLayer) a request is refused.
impl<S: Send + Sync> FromRequestParts<S> for Session {
    type Rejection = (StatusCode, &'static str);

    // axum 0.7 declares it with async_trait, which writes it like this.
    fn from_request_parts<'parts, 'state, 'future>(
        parts: &'parts mut Parts,
        _: &'state S,
    ) -> Pin<Box<dyn Future<Output = Result<Session, Self::Rejection>> + Send + 'future>>
    where
        'parts: 'future,
        'state: 'future,
    {
        Box::pin(async { super::session_of(parts) })
    }
}
