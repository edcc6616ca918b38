//! Real values for the queries' placeholders, taken from the data that the load finds.

use std::collections::HashMap;

use db_platform::{Db, Freshness, Result};
use diesel::sql_types::Text;
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;

use crate::queries::{Bind, SAMPLES};

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    value: String,
}

/// Up to 200 values for each kind of placeholder.
pub(crate) struct Samples {
    values: HashMap<Bind, Vec<String>>,
}

impl Samples {
    pub(crate) async fn take(db: &Db) -> Result<Self> {
        let mut values = HashMap::new();
        for (bind, sql) in SAMPLES {
            // The data has just been written: a standby may not have all of it yet.
            let read = db.read_within(Freshness::Primary, async |conn| sql_query(*sql).load(conn).await);
            let rows: Vec<Row> = read.await?;
            values.insert(*bind, rows.into_iter().map(|row| row.value).collect());
        }
        Ok(Samples { values })
    }

    /// The value at a place, counted around; none where the data has none, and the query cannot run.
    ///
    /// The values of one query are taken at one place: an aggregate's type and id belong together.
    pub(crate) fn at(&self, place: usize, bind: Bind) -> Option<&str> {
        let values = self.values.get(&bind).filter(|values| !values.is_empty())?;
        Some(&values[place % values.len()])
    }
}
