//! Pages about the database inside the service: live, without a build step and without a request to anybody
//! else.
//!
//! ```
//! use db_monitoring::dashboard::{self, Access, Source};
//!
//! let access = Access::token("a token from the settings").unwrap();
//! let pages = dashboard::router(Source::named("shop"), access).unwrap();
//! let service: axum::Router = axum::Router::new().nest("/admin/performance", pages);
//! ```

mod access;
mod actions;
mod answer;
mod assets;
mod load;
mod page;
mod pages;
mod request;
mod source;

use std::sync::Arc;

use axum::Router;
use axum::routing::any;

pub use access::{Access, NoRandomness, SHORTEST_TOKEN, Token, WeakToken, random_token};
pub use actions::{Act, Acted, Actions};
pub use source::{Feed, Insight, Source};

use access::Gate;
use answer::Shared;

/// The dashboard, to nest at a path such as `/admin/performance`. It admits whom `access` admits, and nobody
/// else.
///
/// Every page is also JSON, for who accepts `application/json` or asks for its path with `.json`. Its policy
/// lets a browser
/// load nothing from elsewhere and run no inline script.
///
/// # Errors
/// The system gave no random numbers.
pub fn router(source: Source, access: Access) -> Result<Router, NoRandomness> {
    let shared = Arc::new(Shared { gate: Gate::new(&access)?, source, texts: load::Texts::default() });
    Ok(Router::new().route("/", any(answer::answer)).fallback(answer::answer).with_state(shared))
}
