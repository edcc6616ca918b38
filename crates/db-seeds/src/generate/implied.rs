//! What nobody declared, but triggers check: a line of an order that names a tenant has the tenant of its
//! order.

use std::collections::BTreeSet;

use super::catalog::Catalog;

/// Notes for each reference of a table with triggers which further columns agree with those of the same name
/// there: both refer, by way of others or not, to the same keys.
pub(crate) fn imply(catalog: &mut Catalog) {
    let mut found = Vec::new();
    for (at, table) in catalog.tables.iter().enumerate().filter(|(_, table)| table.triggers) {
        for (place, reference) in table.references.iter().enumerate().filter(|(_, one)| one.table != at) {
            let there = &catalog.tables[reference.table];
            for column in (0..table.columns.len()).filter(|column| !reference.columns.contains(column)) {
                let name = &table.columns[column].name;
                let Some(of_there) = there.column(name) else { continue };
                let own = leads_to(catalog, at, column);
                if leads_to(catalog, reference.table, of_there).iter().any(|lead| own.contains(lead)) {
                    found.push((at, place, (column, name.clone())));
                }
            }
        }
    }
    for (at, place, implied) in found {
        catalog.tables[at].references[place].implied.push(implied);
    }
}

/// The columns of keys that a column leads to, step by step; itself too.
fn leads_to(catalog: &Catalog, table: usize, column: usize) -> BTreeSet<(usize, usize)> {
    let (mut found, mut open) = (BTreeSet::new(), vec![(table, column)]);
    while let Some((table, column)) = open.pop() {
        if !found.insert((table, column)) {
            continue;
        }
        for reference in &catalog.tables[table].references {
            let at = reference.columns.iter().position(|one| *one == column);
            let next = at.and_then(|at| catalog.tables[reference.table].column(&reference.of[at]));
            open.extend(next.map(|next| (reference.table, next)));
        }
    }
    found
}
