//! Reads from the catalog which tables there are, and what a row of each must be.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio_postgres::Transaction;

use super::column_type::ColumnType;
use super::computed::{self, Computed};
use super::expression::Expression;
use super::implied;
use super::token;
use crate::error::{Error, Result};

/// A column that rows are given a value for.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) holds: ColumnType,
    /// Its type below all domains, and the modifier of that.
    pub(crate) base: (u32, i32),
    pub(crate) not_null: bool,
    pub(crate) has_default: bool,
    /// Whether it is put together from columns of its parts ([`super::flat`]).
    pub(crate) apart: bool,
}

/// Columns whose values together come once. The numbers are those of [`Table::columns`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unique {
    pub(crate) columns: Vec<usize>,
    /// Whether two NULLs are the same: of a primary key, and where the index says so.
    pub(crate) nulls_equal: bool,
}

/// A foreign key.
#[derive(Debug, Clone)]
pub(crate) struct Reference {
    pub(crate) columns: Vec<usize>,
    /// The table that it refers to: its place in [`Catalog::tables`].
    pub(crate) table: usize,
    /// The columns there.
    pub(crate) of: Vec<String>,
    /// Whether all of its columns are NULL or none is (MATCH FULL).
    pub(crate) full: bool,
    /// Further columns, and those of the same name there: both refer to the same keys, so that they mostly
    /// agree.
    pub(crate) implied: Vec<(usize, String)>,
}

/// A table, and what its rows must be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    pub(crate) oid: u32,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) uniques: Vec<Unique>,
    pub(crate) references: Vec<Reference>,
    /// Its checks and those of its columns' domains, as far as they are understood.
    pub(crate) checks: Vec<Expression>,
    /// Columns that the server generates, and from what.
    generated: Vec<(String, Expression)>,
    /// The checks as SQL, for the server to decide.
    pub(crate) filter: Vec<String>,
    /// What a row must be to belong to each leaf of a partitioned table.
    pub(crate) leaves: Vec<Expression>,
    pub(crate) partitioned: bool,
    /// The columns of ranges that must not overlap: where they begin and where they end.
    pub(crate) spans: Vec<(usize, usize)>,
    /// Columns that an index over an expression wants different, or that an exclusion constraint compares.
    pub(crate) spread: BTreeSet<usize>,
    /// Unique indexes over expressions, or over some of the rows.
    pub(crate) partial: Vec<Partial>,
    /// Exclusion constraints: what is compared, and by which operators.
    pub(crate) exclusions: Vec<Exclusion>,
    /// What checks want columns to be computed by.
    pub(crate) computed: Vec<Computed>,
    /// Whether triggers of the schema's own judge its rows.
    pub(crate) triggers: bool,
    /// Whether one of these may be checked late: `ON CONFLICT` is refused then.
    pub(crate) deferrable: bool,
}

/// What no two rows, of those for which a condition is true, may have in common.
#[derive(Debug, Clone)]
pub(crate) struct Exclusion {
    pub(crate) of: Vec<(Expression, String)>,
    pub(crate) when: Option<Expression>,
}

/// What comes once among the rows for which a condition is true.
#[derive(Debug, Clone)]
pub(crate) struct Partial {
    pub(crate) of: Vec<Expression>,
    pub(crate) when: Option<Expression>,
    pub(crate) nulls_equal: bool,
}

impl Table {
    /// The table with its schema, quoted.
    pub(crate) fn sql(&self) -> String {
        format!("{}.{}", crate::ledger::quoted(&self.schema), crate::ledger::quoted(&self.name))
    }

    /// What a row must be, as text: other rows come of another one. The numbers of objects are not in it.
    pub(crate) fn described(&self) -> String {
        let columns: Vec<_> =
            self.columns.iter().map(|one| (&one.name, &one.holds, one.not_null, one.has_default)).collect();
        let references: Vec<_> = self.references.iter().map(|one| (&one.columns, &one.of)).collect();
        format!("{columns:?} {references:?} {:?} {:?} {:?}", self.uniques, self.filter, self.leaves)
    }

    pub(crate) fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}

/// The tables that rows can be made for, those of extensions and ours left out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalog {
    pub(crate) tables: Vec<Table>,
}

/// Tables that somebody's rows belong in. Partitions are filled through their root.
const TABLES: &str = "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind = 'p',
        EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgtype & 4 <> 0)
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
        AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND n.nspname <> 'dbp'
        AND c.relname NOT IN ('db_seeds', 'db_migrations', '__diesel_schema_migrations')
        AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass
            AND d.objid = c.oid AND d.deptype = 'e')
    ORDER BY n.nspname, c.relname";

const COLUMNS: &str = "SELECT a.attrelid, a.attnum, a.attname::text, a.atttypid, a.atttypmod, a.attnotnull,
        a.attidentity <> '' OR a.atthasdef, a.attgenerated <> '', pg_get_expr(d.adbin, d.adrelid)
    FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum WHERE a.attrelid = ANY ($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attrelid, a.attnum";

const TYPES: &str = "SELECT t.oid, t.typname::text, t.typtype::text, t.typbasetype, t.typtypmod, t.typelem,
        t.typcategory::text, t.typnotnull, t.typrelid,
        coalesce((SELECT r.rngsubtype FROM pg_range AS r WHERE r.rngtypid = t.oid), 0::oid),
        coalesce((SELECT r.rngsubtype FROM pg_range AS r WHERE r.rngmultitypid = t.oid), 0::oid)
    FROM pg_type AS t";

const ENUMS: &str = "SELECT enumtypid, enumlabel::text FROM pg_enum ORDER BY enumtypid, enumsortorder";

const DOMAIN_CHECKS: &str = "SELECT contypid, pg_get_expr(conbin, 0) FROM pg_constraint
    WHERE contype = 'c' AND contypid <> 0 AND conbin IS NOT NULL ORDER BY oid";

/// The parts of composite types.
const PARTS: &str = "SELECT a.attrelid, a.atttypid, a.atttypmod, a.attname::text FROM pg_attribute AS a
    JOIN pg_class AS c ON c.oid = a.attrelid
    WHERE c.relkind = 'c' AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum";

const CONSTRAINTS: &str = "SELECT conrelid, contype::text, conkey, confrelid,
        pg_get_expr(conbin, conrelid), confmatchtype = 'f',
        ARRAY(SELECT f.attname::text FROM unnest(confkey) WITH ORDINALITY AS k (number, place)
            JOIN pg_attribute AS f ON f.attrelid = confrelid AND f.attnum = k.number ORDER BY place),
        ARRAY(SELECT f.attname::text FROM unnest(conkey) WITH ORDINALITY AS k (number, place)
            JOIN pg_attribute AS f ON f.attrelid = conrelid AND f.attnum = k.number ORDER BY place)
    FROM pg_constraint WHERE conrelid = ANY ($1::oid[]) AND contype IN ('c', 'f')
    ORDER BY conrelid, conname";

/// The columns of unique indexes, and of exclusion constraints; 0 stands for an expression.
const INDEXES: &str = "SELECT i.indrelid, i.indisunique AND NOT i.indisexclusion,
        i.indisprimary OR i.indnullsnotdistinct,
        ARRAY(SELECT k::int2 FROM unnest(i.indkey) WITH ORDINALITY AS u (k, place)
            WHERE place <= i.indnkeyatts ORDER BY place),
        pg_get_expr(i.indpred, i.indrelid),
        ARRAY(SELECT pg_get_indexdef(i.indexrelid, place, false)
            FROM generate_series(1, i.indnkeyatts) AS place), NOT i.indimmediate OR EXISTS (SELECT FROM
            pg_constraint AS c WHERE c.conindid = i.indexrelid AND c.contype IN ('u', 'p', 'x') AND c.condeferrable),
        ARRAY(SELECT o.oprname::text FROM pg_constraint AS c, unnest(c.conexclop) WITH ORDINALITY AS u (oid, place)
            JOIN pg_operator AS o ON o.oid = u.oid WHERE c.conindid = i.indexrelid AND c.contype = 'x' ORDER BY place)
    FROM pg_index AS i WHERE i.indrelid = ANY ($1::oid[]) AND (i.indisunique OR i.indisexclusion)
    ORDER BY i.indrelid, i.indexrelid";

/// What the rows of each leaf are, its parents' bounds included. The default partition takes what is left
/// over.
const LEAVES: &str = "SELECT root.oid, pg_get_partition_constraintdef(leaf.relid)
    FROM unnest($1::oid[]) AS root (oid) JOIN pg_class AS c ON c.oid = root.oid AND c.relkind = 'p'
    CROSS JOIN LATERAL pg_partition_tree(root.oid) AS leaf
    JOIN pg_class AS l ON l.oid = leaf.relid
    WHERE leaf.isleaf AND l.relkind <> 'p' AND pg_get_expr(l.relpartbound, l.oid) <> 'DEFAULT'
    ORDER BY root.oid, l.relname";

/// A row of `pg_type`.
struct Type {
    name: String,
    kind: String,
    base: u32,
    modifier: i32,
    element: u32,
    category: String,
    not_null: bool,
    relation: u32,
    range_of: u32,
    multirange_of: u32,
}

#[derive(Default)]
struct Types {
    types: HashMap<u32, Type>,
    labels: HashMap<u32, Arc<Vec<String>>>,
    checks: HashMap<u32, Vec<String>>,
    parts: HashMap<u32, Vec<(u32, i32, String)>>,
}

impl Catalog {
    /// Reads all schemas. `search_path` must be the server's own.
    pub(crate) async fn read(transaction: &Transaction<'_>) -> Result<Self> {
        let query = async |sql: &str| {
            transaction.query(sql, &[]).await.map_err(Error::database("reading the catalog"))
        };
        let mut types = Types::default();
        for row in query(TYPES).await? {
            types.types.insert(
                row.get(0),
                Type {
                    name: row.get(1),
                    kind: row.get(2),
                    base: row.get(3),
                    modifier: row.get(4),
                    element: row.get(5),
                    category: row.get(6),
                    not_null: row.get(7),
                    relation: row.get(8),
                    range_of: row.get(9),
                    multirange_of: row.get(10),
                },
            );
        }
        for row in query(ENUMS).await? {
            Arc::make_mut(types.labels.entry(row.get(0)).or_default()).push(row.get(1));
        }
        for row in query(DOMAIN_CHECKS).await? {
            types.checks.entry(row.get(0)).or_default().push(row.get(1));
        }
        for row in query(PARTS).await? {
            let part = (row.get(1), row.get(2), row.get(3));
            types.parts.entry(row.get(0)).or_default().push(part);
        }
        let mut tables: Vec<Table> = query(TABLES).await?.iter().map(Table::empty).collect();
        let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
        let place: HashMap<u32, usize> = oids.iter().enumerate().map(|(at, oid)| (*oid, at)).collect();
        let of_tables = async |sql: &str| {
            transaction.query(sql, &[&oids]).await.map_err(Error::database("reading the catalog"))
        };
        // From the number of a column in the catalog to its place among those that are filled.
        let mut numbers: HashMap<(u32, i16), usize> = HashMap::new();
        for row in of_tables(COLUMNS).await? {
            let (oid, generated): (u32, bool) = (row.get(0), row.get(7));
            let Some(table) = place.get(&oid).and_then(|at| tables.get_mut(*at)) else { continue };
            if generated {
                let from = row.get::<_, Option<String>>(8).map(|text| Expression::parse(&text));
                table.generated.push((row.get(2), from.unwrap_or(Expression::Unknown)));
                continue;
            }
            numbers.insert((oid, row.get(1)), table.columns.len());
            table.add_column(&types, &row);
        }
        let columns_of = |oid: u32, list: &[i16]| -> Option<Vec<usize>> {
            list.iter().map(|number| numbers.get(&(oid, *number)).copied()).collect()
        };
        for row in of_tables(CONSTRAINTS).await? {
            let oid: u32 = row.get(0);
            let Some(table) = place.get(&oid).and_then(|at| tables.get_mut(*at)) else { continue };
            match row.get::<_, String>(1).as_str() {
                "c" => {
                    let Some(text) = row.get::<_, Option<String>>(4) else { continue };
                    table.add_check(text);
                }
                _ => {
                    let target: u32 = row.get(3);
                    let columns = columns_of(oid, &row.get::<_, Vec<i16>>(2));
                    let Some(columns) = columns else {
                        let found = row.get::<_, Vec<i16>>(2);
                        let known: Vec<Option<usize>> =
                            found.iter().map(|number| numbers.get(&(oid, *number)).copied()).collect();
                        table.leave_generated_null(&known, &row.get::<_, Vec<String>>(7));
                        continue;
                    };
                    let Some(target) = place.get(&target) else { continue };
                    let (of, full, implied) = (row.get(6), row.get(5), Vec::new());
                    let reference = Reference { columns, table: *target, of, full, implied };
                    // Partitioned tables have a constraint for each partition that they refer to.
                    table.keep_full(&reference);
                    let same = |one: &Reference| one.columns == reference.columns && one.table == *target;
                    if !table.references.iter().any(same) {
                        table.references.push(reference);
                    }
                }
            }
        }
        for row in of_tables(INDEXES).await? {
            let oid: u32 = row.get(0);
            let Some(table) = place.get(&oid).and_then(|at| tables.get_mut(*at)) else { continue };
            table.deferrable |= row.get::<_, bool>(6);
            let keys: Vec<i16> = row.get(3);
            let (unique, when): (bool, Option<String>) = (row.get(1), row.get(4));
            let partial = when.is_some();
            if !unique {
                table.add_exclusion(&row.get::<_, Vec<String>>(5), row.get(7), when.as_deref());
            }
            let columns = columns_of(oid, &keys);
            if unique && (partial || columns.is_none()) {
                let of = row.get::<_, Vec<String>>(5);
                table.partial.push(Partial {
                    of: of.iter().map(|text| table.generated_from(Expression::parse(text))).collect(),
                    when: when.map(|text| table.generated_from(Expression::parse(&text))),
                    nulls_equal: row.get(2),
                });
            }
            match columns {
                // A partial one holds for some of the rows only: that they differ is enough, not needed.
                Some(columns) if unique => {
                    let found = Unique { columns, nulls_equal: row.get(2) };
                    if partial {
                        table.spread.extend(found.columns);
                    } else if !table.uniques.contains(&found) {
                        table.uniques.push(found);
                    }
                }
                Some(columns) => table.spread.extend(columns),
                None => {
                    for definition in row.get::<_, Vec<String>>(5) {
                        let expression = Expression::parse(&definition);
                        let columns = expression.columns();
                        if let (Expression::Call(name, _), [begins, ends]) = (&expression, columns.as_slice())
                            && name.ends_with("range")
                            && let (Some(begins), Some(ends)) = (table.column(begins), table.column(ends))
                        {
                            table.spans.push((begins, ends));
                            continue;
                        }
                        let columns: Vec<usize> =
                            columns.iter().filter_map(|column| table.column(column)).collect();
                        table.spread.extend(columns);
                    }
                }
            }
        }
        for row in of_tables(LEAVES).await? {
            let (oid, text): (u32, Option<String>) = (row.get(0), row.get(1));
            if let (Some(at), Some(text)) = (place.get(&oid), text) {
                tables[*at].leaves.push(Expression::parse(&text));
            }
        }
        let mut catalog = Catalog { tables };
        implied::imply(&mut catalog);
        Ok(catalog)
    }
}

impl Table {
    /// A table that is not in the catalog: for the values of a domain.
    pub(crate) fn of_one_column(name: &str, holds: ColumnType, checks: Vec<Expression>) -> Self {
        let column = Column {
            name: name.to_owned(),
            holds,
            base: (0, -1),
            not_null: true,
            has_default: false,
            apart: false,
        };
        Table { columns: vec![column], checks, ..Table::default() }
    }

    fn empty(row: &tokio_postgres::Row) -> Self {
        Table {
            oid: row.get(0),
            schema: row.get(1),
            name: row.get(2),
            partitioned: row.get(3),
            triggers: row.get(4),
            ..Table::default()
        }
    }

    /// A check that names a generated column says something of what that one is generated from. The server
    /// cannot be asked before it has generated it.
    fn add_check(&mut self, text: String) {
        let check = Expression::parse(&text);
        if !self.generated.iter().any(|(name, _)| check.columns().contains(&name.as_str())) {
            self.computed.extend(computed::of_check(&text));
            self.filter.push(text);
        }
        self.checks.push(self.generated_from(check));
    }

    fn add_exclusion(&mut self, of: &[String], operators: Vec<String>, when: Option<&str>) {
        let parsed = |text: &str| self.generated_from(Expression::parse(text));
        let of = of.iter().map(|text| parsed(text)).zip(operators).collect();
        let exclusion = Exclusion { of, when: when.map(parsed) };
        self.exclusions.push(exclusion);
    }

    /// The expression with what generated columns are generated from in their place.
    fn generated_from(&self, expression: Expression) -> Expression {
        self.generated.iter().fold(expression, |whole, (name, from)| whole.replaced(name, from))
    }

    /// A reference of which the server generates a column: a row whose generated value is NULL refers to
    /// nothing.
    fn leave_generated_null(&mut self, columns: &[Option<usize>], numbers: &[String]) {
        let generated = numbers.iter().zip(columns).filter(|(_, column)| column.is_none());
        for (name, _) in generated {
            let from = self.generated.iter().find(|(one, _)| one == name).map(|(_, from)| from.clone());
            if let Some(from) = from.filter(|from| *from != Expression::Unknown) {
                self.checks.push(Expression::IsNull(Box::new(from)));
            }
        }
    }

    /// MATCH FULL is a rule between columns: all of them have a value, or none has.
    fn keep_full(&mut self, reference: &Reference) {
        if !reference.full {
            return;
        }
        let is_null = |column: &usize| {
            Box::new(Expression::IsNull(Box::new(Expression::Column(self.columns[*column].name.clone()))))
        };
        let pairs = reference.columns.windows(2);
        let rules =
            pairs.map(|pair| Expression::Binary("=".to_owned(), is_null(&pair[0]), is_null(&pair[1])));
        let rules: Vec<Expression> = rules.collect();
        self.checks.extend(rules);
    }

    fn add_column(&mut self, types: &Types, row: &tokio_postgres::Row) {
        let (name, mut type_of, mut modifier): (String, u32, i32) = (row.get(2), row.get(3), row.get(4));
        let mut not_null: bool = row.get(5);
        let quoted = crate::ledger::quoted(&name);
        while let Some(domain) = types.types.get(&type_of).filter(|one| one.kind == "d") {
            not_null |= domain.not_null;
            for text in types.checks.get(&type_of).into_iter().flatten() {
                let check = Expression::parse(text).renamed("VALUE", &name);
                if check != Expression::Unknown {
                    self.checks.push(check);
                }
                self.filter.push(token::about_column(text, &quoted));
            }
            if modifier < 0 {
                modifier = domain.modifier;
            }
            type_of = domain.base;
        }
        let holds = types.holds(type_of, modifier, 0);
        let (base, has_default) = ((type_of, modifier), row.get(6));
        self.columns.push(Column { name, holds, base, not_null, has_default, apart: false });
    }
}

impl Types {
    fn holds(&self, oid: u32, modifier: i32, depth: u32) -> ColumnType {
        let Some(found) = self.types.get(&oid).filter(|_| depth < 8) else {
            return ColumnType::Other(oid.to_string());
        };
        let within = |oid, modifier| Box::new(self.holds(oid, modifier, depth + 1));
        match found.kind.as_str() {
            "d" => {
                let modifier = if modifier < 0 { found.modifier } else { modifier };
                let of = self.holds(found.base, modifier, depth + 1);
                let checks = self.checks.get(&oid).into_iter().flatten();
                let checks: Vec<Expression> = checks.map(|text| Expression::parse(text)).collect();
                match of {
                    ColumnType::Checked(of, more) => ColumnType::Checked(of, [more, checks].concat()),
                    of if checks.is_empty() => of,
                    of => ColumnType::Checked(Box::new(of), checks),
                }
            }
            "e" => ColumnType::Enum(self.labels.get(&oid).cloned().unwrap_or_default()),
            "r" => ColumnType::Range(within(found.range_of, -1)),
            "m" => ColumnType::Multirange(within(found.multirange_of, -1)),
            "c" => {
                let parts = self.parts.get(&found.relation).into_iter().flatten();
                let parts = parts.map(|(oid, modifier, name)| (name.clone(), *within(*oid, *modifier)));
                ColumnType::Composite(parts.collect())
            }
            // Points and their like have elements too, and are no arrays.
            _ if found.category == "A" && found.element != 0 => {
                ColumnType::Array(within(found.element, modifier))
            }
            _ => ColumnType::named(&found.name, modifier),
        }
    }
}

/// Whether a table is meant by this name, with or without its schema.
pub(crate) fn is_named(table: &Table, name: &str) -> bool {
    table.name == name || name.split_once('.') == Some((table.schema.as_str(), table.name.as_str()))
}
