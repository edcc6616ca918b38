//! Whether the next statement of a session may carry a label for the server's log.

use db_core::TransactionStatus;

use super::super::labels::{self, Standing};
use super::super::request::{Kind, Request};
use super::Session;

impl Session {
    /// Where it stands, if the next request is to carry a label.
    pub(in crate::wire) fn to_label(&self) -> Option<Standing<'_>> {
        let link = self.caller.as_ref()?.trace?;
        let is_plain = |request: &Request| {
            let plain = request.statement.as_ref().is_some_and(|statement| labels::is_plain(&statement.text));
            !request.is_simple && (request.kind < Kind::Run || plain)
        };
        (!self.broken && !self.partway && self.building.is_none()).then(|| Standing {
            link,
            name: self.parameters.at_start("application_name").unwrap_or_default(),
            unanswered: self.requests.len(),
            outside: self.status == TransactionStatus::Idle && self.requests.iter().all(is_plain),
        })
    }

    /// The text of a prepared statement.
    pub(in crate::wire) fn text_of(&self, name: &str) -> Option<&str> {
        self.prepared.get(name).map(|statement| &*statement.text)
    }
}
