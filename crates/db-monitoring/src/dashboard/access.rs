//! Who may see the dashboard: who knows the token, or whom the caller's own layer lets through.
//!
//! Tokens and signatures are compared as HMACs under a key of this process: in constant time, whatever their
//! lengths.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

/// The fewest characters of a token: fewer can be guessed.
pub const SHORTEST_TOKEN: usize = 16;

/// How long a browser stays signed in.
const SIGNED_IN: Duration = Duration::from_secs(12 * 3_600);
/// How long a form may lie open before it is sent.
const FORM_LIVES: Duration = Duration::from_secs(2 * 3_600);
const SESSION: &str = "dbp_session";

/// Who may see the dashboard. There is no default: whoever mounts it decides.
///
/// ```
/// use db_monitoring::dashboard::Access;
///
/// let access = Access::token("correct horse battery staple").unwrap();
/// assert!(!format!("{access:?}").contains("horse"));
/// assert!(Access::token("secret").is_err());
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Access {
    /// Who sends this token: as `Authorization: Bearer …`, or in the form that a browser gets.
    Token(Token),
    /// Who came this far: the caller's own layer around the router lets nobody else through.
    Layered,
}

impl Access {
    /// Access by a token.
    ///
    /// # Errors
    /// It has fewer than [`SHORTEST_TOKEN`] characters.
    pub fn token(token: impl Into<String>) -> Result<Self, WeakToken> {
        let token = token.into().trim().to_owned();
        if token.chars().count() < SHORTEST_TOKEN {
            return Err(WeakToken);
        }
        Ok(Access::Token(Token(token)))
    }
}

/// A token that is long enough. Its `Debug` does not show it.
#[derive(Clone)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A token that is too short to keep anybody out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeakToken;

impl fmt::Display for WeakToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the dashboard's token is too short: take at least {SHORTEST_TOKEN} characters at random")
    }
}

impl std::error::Error for WeakToken {}

/// The system gave no random numbers, so nothing can be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRandomness;

impl fmt::Display for NoRandomness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the system gives no random numbers, and the dashboard signs its forms with them")
    }
}

impl std::error::Error for NoRandomness {}

/// A token that nobody guesses, for a run that was given none.
///
/// # Errors
/// The system gave no random numbers.
pub fn random_token() -> Result<String, NoRandomness> {
    let mut bytes = [0_u8; 20];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Lets requests through or not.
pub(super) struct Gate {
    key: hmac::Key,
    token: Option<hmac::Tag>,
}

impl Gate {
    pub(super) fn new(access: &Access) -> Result<Self, NoRandomness> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).map_err(|_| NoRandomness)?;
        let token = match access {
            Access::Token(Token(token)) => Some(hmac::sign(&key, token.as_bytes())),
            Access::Layered => None,
        };
        Ok(Gate { key, token })
    }

    /// Whether a browser can sign in and out here.
    pub(super) fn has_sign_in(&self) -> bool {
        self.token.is_some()
    }

    /// Whether this request may see anything.
    pub(super) fn admits(&self, headers: &HeaderMap, now: SystemTime) -> bool {
        if self.token.is_none() {
            return true;
        }
        let bearer = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        bearer.is_some_and(|token| self.knows(token))
            || session(headers).is_some_and(|session| self.has_signed("session", session, now))
    }

    /// Whether it is the token.
    pub(super) fn knows(&self, token: &str) -> bool {
        let Some(tag) = &self.token else { return false };
        hmac::verify(&self.key, token.trim().as_bytes(), tag.as_ref()).is_ok()
    }

    /// The cookie of a browser that has just sent the token.
    pub(super) fn cookie(&self, base: &str, is_secure: bool, now: SystemTime) -> String {
        let session = self.sign("session", now + SIGNED_IN);
        let path = if base.is_empty() { "/" } else { base };
        let secure = if is_secure { "; Secure" } else { "" };
        let age = SIGNED_IN.as_secs();
        format!("{SESSION}={session}; Path={path}; HttpOnly; SameSite=Strict; Max-Age={age}{secure}")
    }

    /// The cookie that takes a browser's session away.
    pub(super) fn no_cookie(base: &str) -> String {
        let path = if base.is_empty() { "/" } else { base };
        format!("{SESSION}=; Path={path}; HttpOnly; SameSite=Strict; Max-Age=0")
    }

    /// What a form carries, so that no other site can send it. The same for an hour.
    pub(super) fn csrf(&self, now: SystemTime) -> String {
        let hour = unix(now) / 3_600 * 3_600;
        self.sign("csrf", UNIX_EPOCH + Duration::from_secs(hour) + FORM_LIVES)
    }

    /// Whether a form that changes something came from a page of ours.
    pub(super) fn is_own_form(&self, headers: &HeaderMap, csrf: &str, now: SystemTime) -> bool {
        is_same_origin(headers) && self.has_signed("csrf", csrf, now)
    }

    fn sign(&self, what: &str, until: SystemTime) -> String {
        let until = unix(until);
        let tag = hmac::sign(&self.key, format!("{what} {until}").as_bytes());
        let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{until}.{hex}")
    }

    fn has_signed(&self, what: &str, signed: &str, now: SystemTime) -> bool {
        let Some((until, hex)) = signed.split_once('.') else { return false };
        let (Ok(until), Some(tag)) = (until.parse::<u64>(), from_hex(hex)) else { return false };
        let message = format!("{what} {until}");
        hmac::verify(&self.key, message.as_bytes(), &tag).is_ok() && unix(now) < until
    }
}

/// Whether the browser says that the page which sent this is ours, or is no browser that would say.
fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(site) = text("sec-fetch-site") {
        return matches!(site, "same-origin" | "none");
    }
    match (text(ORIGIN.as_str()), text(HOST.as_str())) {
        (None, _) => true,
        (Some(origin), Some(host)) => origin.split_once("://").is_some_and(|(_, from)| from == host),
        (Some(_), None) => false,
    }
}

fn session(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find_map(|(name, value)| (name == SESSION).then_some(value))
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    if !hex.is_ascii() || !hex.len().is_multiple_of(2) {
        return None;
    }
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()).collect()
}

fn unix(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    const TOKEN: &str = "a token that is long enough";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn the_token_opens_and_nothing_else_does() {
        let now = SystemTime::now();
        let gate = Gate::new(&Access::token(TOKEN).unwrap()).unwrap();
        let check = |value: &str, opens: bool| {
            assert_eq!(gate.admits(&headers(&[("authorization", value)]), now), opens, "{value}");
        };
        check(&format!("Bearer {TOKEN}"), true);
        check(&format!("bearer  {TOKEN} "), true);
        check(&format!("Bearer {TOKEN}x"), false);
        check("Bearer", false);
        check("Bearer ", false);
        check(&format!("Basic {TOKEN}"), false);
        assert!(!gate.admits(&HeaderMap::new(), now));
    }

    #[test]
    fn a_session_ends_and_is_of_this_process() {
        let now = SystemTime::now();
        let access = Access::token(TOKEN).unwrap();
        let (gate, other) = (Gate::new(&access).unwrap(), Gate::new(&access).unwrap());
        let cookie = gate.cookie("/admin", false, now);
        let sent = headers(&[("cookie", &format!("a=b; {}", cookie.split(';').next().unwrap()))]);
        assert!(gate.admits(&sent, now) && !other.admits(&sent, now));
        assert!(!gate.admits(&sent, now + SIGNED_IN), "it has ended");
        let form = headers(&[("cookie", &format!("{SESSION}={}", gate.csrf(now)))]);
        assert!(!gate.admits(&form, now), "what signs a form is no session");
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"));
    }

    #[test]
    fn a_form_of_another_site_is_refused() {
        let now = SystemTime::now();
        let gate = Gate::new(&Access::Layered).unwrap();
        let csrf = gate.csrf(now);
        let check = |pairs: &[(&'static str, &str)], csrf: &str, own: bool| {
            assert_eq!(gate.is_own_form(&headers(pairs), csrf, now), own, "{pairs:?}");
        };
        check(&[("sec-fetch-site", "same-origin")], &csrf, true);
        check(&[("sec-fetch-site", "cross-site")], &csrf, false);
        check(&[("origin", "https://db.example"), ("host", "db.example")], &csrf, true);
        check(&[("origin", "https://evil.example"), ("host", "db.example")], &csrf, false);
        check(&[("origin", "null"), ("host", "db.example")], &csrf, false);
        check(&[], &csrf, true);
        for wrong in ["", "1.2", "é.é", "99999999999.00", &csrf[1..]] {
            check(&[], wrong, false);
        }
        assert!(!gate.is_own_form(&HeaderMap::new(), &csrf, now + FORM_LIVES));
    }
}
