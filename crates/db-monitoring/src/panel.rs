//! What a page or a report shows, and what it becomes: HTML, pictures, and what changed since the one before.

mod compare;
mod html;
mod svg;

pub use compare::Previous;
pub use db_core::panel::{Column, Figure, Item, Node, Panel, Plot, Row, Series, Table, Tree, Value};

pub(crate) use db_core::panel::human::{bytes, seconds, stamp};
pub(crate) use html::{Look, panel as html};
