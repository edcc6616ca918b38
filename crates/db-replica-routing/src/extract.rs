//! The session of a request as an argument of an axum handler.

use axum_core::extract::FromRequestParts;
use http::StatusCode;
use http::request::Parts;

use crate::session::Session;

/// The request's session, which [`SessionLayer`](crate::SessionLayer) opened.
///
/// Without the layer a request is refused: nobody would carry on what it writes.
impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Session, Self::Rejection> {
        crate::layer::session_of(parts)
    }
}
