//! The order in which tables are filled: what is referred to first.
//!
//! Where tables refer to each other in a circle (strongly connected components, Tarjan 1972), references that
//! may be NULL are left NULL at first and filled in at the end. Tables that still are in a circle are filled
//! together, by one statement: the server checks foreign keys at a statement's end.

use super::catalog::Catalog;

/// Tables that are filled together, mostly one, and the references that are filled in at the end.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Order {
    /// Places in [`Catalog::tables`].
    pub(crate) groups: Vec<Vec<usize>>,
    /// A table, and the place among its references.
    pub(crate) late: Vec<(usize, usize)>,
}

impl Order {
    pub(crate) fn of(catalog: &Catalog) -> Self {
        let edges = |late: &[(usize, usize)]| -> Vec<Vec<usize>> {
            let each = catalog.tables.iter().enumerate().map(|(at, table)| {
                let references = table.references.iter().enumerate();
                let kept = references.filter(|(place, one)| one.table != at && !late.contains(&(at, *place)));
                kept.map(|(_, one)| one.table).collect()
            });
            each.collect()
        };
        let mut late = Vec::new();
        for group in components(&edges(&[])).into_iter().filter(|group| group.len() > 1) {
            for &at in &group {
                let table = &catalog.tables[at];
                for (place, one) in table.references.iter().enumerate() {
                    let may_be_null = one.columns.iter().any(|column| !table.columns[*column].not_null);
                    if one.table != at && group.contains(&one.table) && may_be_null {
                        late.push((at, place));
                    }
                }
            }
        }
        Order { groups: components(&edges(&late)), late }
    }
}

/// The strongly connected components of a graph, each after those that it points to.
fn components(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    const UNSEEN: usize = usize::MAX;
    let (mut index, mut low) = (vec![UNSEEN; edges.len()], vec![0; edges.len()]);
    let (mut on_stack, mut stack) = (vec![false; edges.len()], Vec::new());
    let (mut next, mut found) = (0, Vec::new());
    for start in 0..edges.len() {
        if index[start] != UNSEEN {
            continue;
        }
        // A stack of our own: chains of tables may be long.
        let mut calls = vec![(start, 0)];
        while let Some((at, edge)) = calls.pop() {
            if edge == 0 {
                (index[at], low[at], on_stack[at]) = (next, next, true);
                stack.push(at);
                next += 1;
            }
            if let Some(&to) = edges[at].get(edge) {
                calls.push((at, edge + 1));
                if index[to] == UNSEEN {
                    calls.push((to, 0));
                } else if on_stack[to] {
                    low[at] = low[at].min(index[to]);
                }
                continue;
            }
            if low[at] == index[at] {
                let mut group = Vec::new();
                while let Some(member) = stack.pop() {
                    on_stack[member] = false;
                    group.push(member);
                    if member == at {
                        break;
                    }
                }
                group.sort_unstable();
                found.push(group);
            }
            if let Some((caller, _)) = calls.last() {
                low[*caller] = low[*caller].min(low[at]);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::components;

    #[test]
    fn what_is_referred_to_comes_first_and_circles_stay_together() {
        assert_eq!(components(&[vec![1], vec![2], vec![]]), [vec![2], vec![1], vec![0]]);
        assert_eq!(components(&[vec![1], vec![0, 2], vec![], vec![0]]), [vec![2], vec![0, 1], vec![3]]);
        assert_eq!(components(&[vec![1, 1], vec![]]), [vec![1], vec![0]]);
    }
}
