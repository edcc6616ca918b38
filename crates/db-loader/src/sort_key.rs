//! The columns by which children are sorted, and by which a page says where it begins.

use diesel::expression::Expression;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::result::QueryResult;
use diesel::serialize::ToSql;
use diesel::sql_types::{Array, HasSqlType, SingleValue};

use crate::page::Order;

/// A tuple of up to three columns, none of which may be null, and which together tell a parent's children
/// apart: `(comments::created_at, comments::id)`. `A` holds a value for each.
///
/// An index on the parent and these columns, in this order, lets the server read no more than it returns.
pub trait SortKey<A>: Clone + Send + Sync + 'static {
    /// The values of many keys, by column.
    #[doc(hidden)]
    type Columns: Send + Sync + 'static;

    #[doc(hidden)]
    fn by_column(keys: Vec<A>) -> Self::Columns;

    /// `a DESC, b DESC`
    #[doc(hidden)]
    fn order<'b>(&'b self, order: Order, out: AstPass<'_, 'b, Pg>) -> QueryResult<()>;

    /// `ROW(a, b) < ROW(parents.a0, parents.a1)`
    #[doc(hidden)]
    fn comes_after<'b>(&'b self, order: Order, out: AstPass<'_, 'b, Pg>) -> QueryResult<()>;

    /// `, $3, $4`
    #[doc(hidden)]
    fn bind<'b>(columns: &'b Self::Columns, out: AstPass<'_, 'b, Pg>) -> QueryResult<()>;

    /// `, a0, a1`
    #[doc(hidden)]
    fn name(out: AstPass<'_, '_, Pg>);
}

macro_rules! sort_keys {
    ($(($($column:ident $value:ident $number:tt),+))+) => {$(
        impl<$($column, $value),+> SortKey<($($value,)+)> for ($($column,)+)
        where
            $(
                $column: Expression<SqlType: SingleValue> + QueryFragment<Pg> + Clone + Send + Sync + 'static,
                $value: Send + Sync + 'static,
                Vec<$value>: ToSql<Array<$column::SqlType>, Pg>,
                Pg: HasSqlType<Array<$column::SqlType>>,
            )+
        {
            type Columns = ($(Vec<$value>,)+);

            fn by_column(keys: Vec<($($value,)+)>) -> Self::Columns {
                let mut columns = ($(Vec::<$value>::with_capacity(keys.len()),)+);
                for key in keys {
                    $(columns.$number.push(key.$number);)+
                }
                columns
            }

            fn order<'b>(&'b self, order: Order, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
                $(
                    if $number > 0 {
                        out.push_sql(", ");
                    }
                    self.$number.walk_ast(out.reborrow())?;
                    out.push_sql(match order {
                        Order::Ascending => " ASC",
                        Order::Descending => " DESC",
                    });
                )+
                Ok(())
            }

            fn comes_after<'b>(&'b self, order: Order, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
                out.push_sql("ROW(");
                $(
                    if $number > 0 {
                        out.push_sql(", ");
                    }
                    self.$number.walk_ast(out.reborrow())?;
                )+
                out.push_sql(match order {
                    Order::Ascending => ") > ROW(",
                    Order::Descending => ") < ROW(",
                });
                $(
                    out.push_sql(if $number > 0 { ", " } else { "" });
                    out.push_sql(concat!("db_loader_parents.a", $number));
                )+
                out.push_sql(")");
                Ok(())
            }

            fn bind<'b>(columns: &'b Self::Columns, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
                $(
                    out.push_sql(", ");
                    out.push_bind_param::<Array<$column::SqlType>, _>(&columns.$number)?;
                )+
                Ok(())
            }

            fn name(mut out: AstPass<'_, '_, Pg>) {
                $(out.push_sql(concat!(", a", $number));)+
            }
        }
    )+};
}

sort_keys! {
    (C0 V0 0)
    (C0 V0 0, C1 V1 1)
    (C0 V0 0, C1 V1 1, C2 V2 2)
}
