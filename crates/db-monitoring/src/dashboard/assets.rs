//! The files that pages load: embedded, so there is no build step and no request to anybody else.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, Response};

/// Name, kind and content. uPlot 1.6.32 is under the MIT licence, which is beside it in the source.
const FILES: [(&str, &str, &str); 4] = [
    ("/assets/dashboard.css", "text/css; charset=utf-8", include_str!("../assets/dashboard.css")),
    ("/assets/dashboard.js", "text/javascript; charset=utf-8", include_str!("../assets/dashboard.js")),
    ("/assets/uplot.css", "text/css; charset=utf-8", include_str!("../assets/uplot.css")),
    ("/assets/uplot.js", "text/javascript; charset=utf-8", include_str!("../assets/uplot.js")),
];

/// Changes with the files, so that a browser does not keep older ones.
pub(super) fn version() -> usize {
    FILES.iter().map(|(.., content)| content.len()).sum()
}

/// The file of this path, which holds no secret.
pub(super) fn file(path: &str) -> Option<Response<Body>> {
    let (_, kind, content) = FILES.into_iter().find(|(name, ..)| *name == path)?;
    let mut response = Response::new(Body::from(content));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    // Pages ask for it with its version.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=86400"));
    Some(response)
}
