//! Makes matches true: a text that fits a pattern, lists that have something in common, keys of documents,
//! networks.

use super::bounds::mirrored;
use super::cell;
use super::column_type::ColumnType;
use super::document;
use super::expression::Expression;
use super::list;
use super::network;
use super::pattern;
use super::repair::{Row, worth_of};
use super::target_value::near;
use super::worth::{self, Worth};
use crate::draw::Draw;

/// How often an element, or a text, is drawn until it fits.
const TRIES: u32 = 20;

impl Row<'_> {
    pub(crate) fn is_document(&self, part: &Expression) -> bool {
        match part {
            Expression::Column(name) => self
                .table
                .column(name)
                .is_some_and(|at| matches!(self.table.columns[at].holds, ColumnType::Json)),
            Expression::Binary(operator, ..) => matches!(operator.as_str(), "->" | "#>"),
            _ => false,
        }
    }

    /// `document ? key`, `?&` and `?|`.
    pub(crate) fn make_keys(
        &mut self,
        operator: &str,
        of: &Expression,
        keys: &Worth,
        wanted: bool,
        draw: &mut Draw,
    ) -> bool {
        let keys =
            if operator == "?" { worth::text_of(keys).map(|key| vec![key]) } else { document::texts(keys) };
        let found = document::path(of, self).map(|path| (path.column.to_owned(), path.steps));
        let (Some(keys), Some((column, steps))) = (keys, found) else { return false };
        // Any of them is enough to make `?|` true, or `?&` false.
        let one = (operator == "?|") == wanted && operator != "?";
        let chosen = draw.below(keys.len() as u64) as usize;
        for (at, key) in keys.iter().enumerate() {
            if one && at != chosen {
                continue;
            }
            let has = document::part("?", &of.worth(self), &Worth::Text(key.clone()));
            if has == Worth::Boolean(wanted) {
                continue;
            }
            let value = wanted.then(|| serde_json::Value::from(draw.below(100)));
            let way: Vec<String> = steps.iter().cloned().chain([key.clone()]).collect();
            self.change_document(&column, &way, value);
        }
        true
    }

    /// `document @> part`: the part is added.
    pub(crate) fn make_contain(&mut self, operator: &str, left: &Expression, right: &Expression) -> bool {
        let (whole, part) = if operator == "@>" { (left, right) } else { (right, left) };
        let (Some(part), has) = (document::of(&part.worth(self)), document::of(&whole.worth(self))) else {
            return false;
        };
        let merged = has.map_or_else(|| part.clone(), |has| document::merged(&has, &part));
        self.put_document(whole, merged)
    }

    /// `list <@ list`, `@>` and `&&`.
    pub(crate) fn make_lists(
        &mut self,
        operator: &str,
        left: &Expression,
        right: &Worth,
        wanted: bool,
        draw: &mut Draw,
    ) -> bool {
        let (Expression::Column(name), Some(list), true) = (left, worth::list(right.clone()), wanted) else {
            return false;
        };
        let Some(at) = self.table.column(name) else { return false };
        let ColumnType::Array(of) = &self.table.columns[at].holds else { return false };
        let least = self.bounds[at].least_length.max(u32::from(operator != "<@")) as usize;
        let mut elements = self.elements(at);
        match operator {
            // All of it is in the list.
            "<@" if list.is_empty() => elements.clear(),
            "<@" => {
                let most = self.bounds[at].most_length.unwrap_or(u32::MAX) as usize;
                let length = elements.len().clamp(least, most.max(least)).min(list.len().max(least));
                let first = draw.below(list.len() as u64) as usize;
                let each = (0..length).map(|turn| &list[(first + turn) % list.len()]);
                elements = each.map(|one| super::bounds::text(of, one)).collect();
            }
            "@>" => {
                let missing = list.iter().map(|one| super::bounds::text(of, one));
                let missing: Vec<Option<String>> = missing.filter(|one| !elements.contains(one)).collect();
                elements.extend(missing);
            }
            _ => {
                let one = list.get(draw.below(list.len() as u64) as usize);
                elements.extend(one.map(|one| super::bounds::text(of, one)));
            }
        }
        self.assign(name, list::text(&elements));
        true
    }

    fn elements(&self, at: usize) -> Vec<Option<String>> {
        self.cells[at].as_deref().and_then(list::elements).unwrap_or_default()
    }

    /// `value operator ANY (list)` and `ALL`.
    pub(crate) fn make_any(
        &mut self,
        operator: &str,
        (left, right): (&Expression, &Expression),
        all: bool,
        wanted: bool,
        draw: &mut Draw,
    ) {
        if let Expression::Column(name) = right
            && let Some(at) = self.table.column(name).filter(|at| !self.pinned[*at])
            && let ColumnType::Array(of) = &self.table.columns[at].holds
        {
            let value = left.worth(self);
            if value == Worth::Unknown || value == Worth::Null {
                return;
            }
            let mut elements = self.elements(at);
            let agrees = |text: &Option<String>| {
                let worth = text.as_ref().map_or(Worth::Null, |text| worth_of(of, text));
                worth::binary(operator, value.clone(), worth) == Worth::Boolean(true)
            };
            let fitting = |row: &Self, wanted: bool, draw: &mut Draw| {
                let bounds = cell::of_type(of);
                let sign = mirrored(operator).unwrap_or(operator);
                let made = if wanted { near(of, &bounds, sign, &value, draw) } else { None };
                made.map(Some).filter(agrees).or_else(|| {
                    let each = (0..TRIES).map(|_| row.draw_element(at, of, draw));
                    each.into_iter().find(|one| agrees(one) == wanted)
                })
            };
            if all == wanted {
                // Each element must agree, or none.
                let mut kept = Vec::new();
                for element in elements {
                    if agrees(&element) == wanted {
                        kept.push(element);
                    } else if let Some(other) = fitting(self, wanted, draw) {
                        kept.push(other);
                    }
                }
                elements = kept;
            } else if let Some(one) = fitting(self, wanted, draw) {
                // One element is enough.
                let most = self.bounds[at].most_length.unwrap_or(u32::MAX) as usize;
                let place = draw.below(elements.len() as u64) as usize;
                if elements.len() >= most.max(1) {
                    elements[place] = one;
                } else {
                    elements.push(one);
                }
            }
            self.cells[at] = Some(list::text(&elements));
            return;
        }
        let Some(list) = worth::list(right.worth(self)) else { return };
        let is_one = (operator == "=" && wanted != all) || (operator == "<>" && all && !wanted);
        if is_one && !list.is_empty() {
            let first = draw.below(list.len() as u64) as usize;
            for turn in 0..list.len() {
                if self.set(left, "=", &list[(first + turn) % list.len()], draw) {
                    return;
                }
            }
        }
        let whole =
            Expression::Any(operator.to_owned(), Box::new(left.clone()), Box::new(right.clone()), all);
        self.sample(&[left], draw, |row| {
            let worth = whole.worth(row);
            if wanted { worth } else { worth::not(worth) }
        });
    }

    fn draw_element(&self, at: usize, of: &ColumnType, draw: &mut Draw) -> Option<String> {
        let wish = cell::Wish {
            name: &self.table.columns[at].name,
            holds: of,
            bounds: &cell::of_type(of),
            row: self.number,
            unique: false,
            first: 0,
            now: self.now,
        };
        cell::value(&wish, draw)
    }

    /// Gives an element of an array a value; elements before it are drawn.
    pub(crate) fn set_element(
        &mut self,
        name: &str,
        place: usize,
        operator: &str,
        value: &Worth,
        draw: &mut Draw,
    ) -> bool {
        let Some(at) = self.table.column(name).filter(|at| !self.pinned[*at] && place < 1_000) else {
            return false;
        };
        let ColumnType::Array(of) = &self.table.columns[at].holds else { return false };
        let mut elements = self.elements(at);
        while elements.len() <= place {
            elements.push(self.draw_element(at, of, draw));
        }
        let Some(made) = near(of, &cell::of_type(of), operator, value, draw) else { return false };
        elements[place] = Some(made);
        self.cells[at] = Some(list::text(&elements));
        true
    }

    /// `address << network`: an address of that network.
    pub(crate) fn make_network(
        &mut self,
        operator: &str,
        left: &Expression,
        right: &Expression,
        draw: &mut Draw,
    ) -> bool {
        let (part, whole) = if operator.starts_with('<') { (left, right) } else { (right, left) };
        let (Expression::Column(name), Some(whole)) = (part, worth::text_of(&whole.worth(self))) else {
            return false;
        };
        let Some(at) = self.table.column(name).filter(|at| !self.pinned[*at]) else { return false };
        let is_network = matches!(self.table.columns[at].holds, ColumnType::Cidr);
        let bits = network::parsed(&whole).map(|(_, bits)| bits + (32_u32.saturating_sub(bits) / 2).max(1));
        let Some(found) = network::within(&whole, draw.next(), bits.filter(|_| is_network)) else {
            return false;
        };
        self.cells[at] = Some(found);
        true
    }

    /// Gives a part a text that fits a pattern, and fits what else is known of the column.
    pub(crate) fn match_text(
        &mut self,
        part: &Expression,
        operator: &str,
        with: &Worth,
        draw: &mut Draw,
    ) -> bool {
        let Some(with) = worth::text_of(with) else { return false };
        let Expression::Column(name) = part else {
            let text = pattern::text_for(operator, &with, draw);
            return text.is_some_and(|text| self.set(part, "=", &Worth::Text(text), draw));
        };
        let Some(at) = self.table.column(name).filter(|at| !self.pinned[*at]) else { return false };
        let bounds = self.bounds[at].clone();
        let fits = |text: &str| pattern::matches(operator, text, &with) == Some(true);
        let start = pattern::start_of(operator, &with);
        let mut first = None;
        for turn in 0..TRIES {
            self.draw_within(at, &bounds, draw);
            let own = self.cells[at].clone().unwrap_or_default();
            let rest: String = own.chars().skip(start.chars().count()).collect();
            let drawn = pattern::text_for(operator, &with, draw).unwrap_or_default();
            let with_start = [own.clone(), format!("{start}{rest}"), format!("{start}{own}"), drawn];
            let mut tries: Vec<&String> = with_start.iter().collect();
            if turn % 2 == 1 {
                tries.reverse();
            }
            for text in tries {
                if fits(text) {
                    if bounds.allows(text) {
                        self.cells[at] = Some(text.clone());
                        return true;
                    }
                    first = first.or_else(|| Some(text.clone()));
                }
            }
        }
        let found = first.is_some();
        if found {
            self.cells[at] = first;
        }
        found
    }

    /// Makes a text begin with another one, and fit what else is known of the column.
    pub(crate) fn begin_with(&mut self, column: &str, start: &str, draw: &mut Draw) -> bool {
        let Some(at) = self.table.column(column).filter(|at| !self.pinned[*at]) else { return false };
        let bounds = self.bounds[at].clone();
        let before = self.cells[at].clone().unwrap_or_default();
        self.draw_within(at, &bounds, draw);
        let own = self.cells[at].clone().unwrap_or_default();
        let rest = |text: &str| text.chars().skip(start.chars().count()).collect::<String>();
        let word = draw.pick(crate::words::WORD);
        let tries = [rest(&before), word.to_owned(), before.clone(), rest(&own), own.clone()];
        let first = draw.below(2) as usize;
        let mut texts =
            (0..tries.len()).map(|turn| format!("{start}{}", tries[(first + turn) % tries.len()]));
        let found = texts.clone().find(|text| bounds.allows(text)).or_else(|| texts.next());
        self.cells[at] = found;
        true
    }
}
