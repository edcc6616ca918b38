//! What `CREATE TABLE … LIKE` and `ATTACH PARTITION` do not bring, compared with the newest sibling.
//!
//! What is data is carried over: grants, storage, replica identity, statistics targets, row security's
//! switches. What is SQL or somebody else's (policies, triggers of the sibling's own, publications) is named,
//! and a person decides.

use tokio_postgres::Client;

use crate::error::Result;
use crate::name::{identifier, literal};

/// What a new partition takes from its newest sibling.
#[derive(Debug, Default, Clone)]
pub(crate) struct Carried {
    /// Behind the columns of CREATE TABLE, for a plain table.
    pub(crate) options: String,
    /// Behind those, for any table.
    pub(crate) tablespace: String,
    /// What follows ALTER TABLE and the new one's name.
    alters: Vec<String>,
    /// What stands before and after the new one's name in GRANT.
    grants: Vec<(String, String)>,
    /// What is not carried over, for people.
    pub(crate) notes: Vec<String>,
}

const SIBLING: &str = "SELECT coalesce(c.reloptions, '{}'), c.relreplident::text, c.relrowsecurity, \
    c.relforcerowsecurity, t.spcname::text, m.amname::text, c.relpersistence = 'u', \
    ARRAY(SELECT polname::text FROM pg_policy WHERE polrelid = c.oid ORDER BY 1), \
    ARRAY(SELECT p.pubname::text FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid \
      WHERE r.prrelid = c.oid ORDER BY 1), \
    ARRAY(SELECT g.tgname::text FROM pg_trigger g WHERE g.tgrelid = c.oid AND NOT g.tgisinternal \
      AND g.tgparentid = 0 ORDER BY 1), \
    EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL) \
    FROM pg_class c LEFT JOIN pg_tablespace t ON t.oid = c.reltablespace LEFT JOIN pg_am m ON m.oid = \
    c.relam \
    WHERE c.oid = $1";

const GRANTS: &str = "SELECT x.privilege_type, g.rolname::text, x.is_grantable FROM pg_class c \
    CROSS JOIN aclexplode(c.relacl) x LEFT JOIN pg_roles g ON g.oid = x.grantee \
    WHERE c.oid = $1 AND x.grantee <> c.relowner AND (x.grantee = 0 OR g.rolname IS NOT NULL) ORDER BY 2, 1";

const TARGETS: &str = "SELECT attname::text, attstattarget::int FROM pg_attribute WHERE attrelid = $1 AND \
    attnum > 0 \
    AND NOT attisdropped AND attstattarget >= 0 ORDER BY attnum";

impl Carried {
    /// What the sibling with this number has.
    pub(crate) async fn read(client: &Client, sibling: u32, name: &str) -> Result<Self> {
        let row = client.query_one(SIBLING, &[&sibling]).await?;
        let options: Vec<String> = row.try_get(0)?;
        let identity: String = row.try_get(1)?;
        let (secured, forced): (bool, bool) = (row.try_get(2)?, row.try_get(3)?);
        let (space, method): (Option<String>, Option<String>) = (row.try_get(4)?, row.try_get(5)?);
        let is_unlogged: bool = row.try_get(6)?;
        let mut carried = Carried::default();
        if let Some(method) = method.filter(|method| method != "heap") {
            carried.options = format!(" USING {}", identifier(&method));
        }
        let set: Vec<String> = options.iter().filter_map(|option| storage(option)).collect();
        if !set.is_empty() {
            carried.options = format!("{} WITH ({})", carried.options, set.join(", "));
        }
        if let Some(space) = space {
            carried.tablespace = format!(" TABLESPACE {}", identifier(&space));
        }
        match identity.as_str() {
            "f" => carried.alters.push("REPLICA IDENTITY FULL".to_owned()),
            "n" => carried.alters.push("REPLICA IDENTITY NOTHING".to_owned()),
            "i" => carried.note(name, "has an index as its replica identity"),
            _ => {}
        }
        if secured {
            carried.alters.push("ENABLE ROW LEVEL SECURITY".to_owned());
        }
        if forced {
            carried.alters.push("FORCE ROW LEVEL SECURITY".to_owned());
        }
        if is_unlogged {
            carried.note(name, "is unlogged");
        }
        let kinds = ["the policy", "a place in the publication", "the trigger"];
        for (kind, column) in kinds.iter().zip([7, 8, 9]) {
            for what in row.try_get::<_, Vec<String>>(column)? {
                carried.note(name, &format!("has {kind} {}", identifier(&what)));
            }
        }
        if row.try_get(10)? {
            carried.note(name, "has grants on single columns");
        }
        for row in client.query(TARGETS, &[&sibling]).await? {
            let (column, target): (String, i32) = (row.try_get(0)?, row.try_get(1)?);
            carried.alters.push(format!("ALTER COLUMN {} SET STATISTICS {target}", identifier(&column)));
        }
        for row in client.query(GRANTS, &[&sibling]).await? {
            let (privilege, grantee, grants): (String, Option<String>, bool) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            let to = grantee.map_or_else(|| "PUBLIC".to_owned(), |grantee| identifier(&grantee));
            let option = if grants { " WITH GRANT OPTION" } else { "" };
            carried.grants.push((privilege, format!("{to}{option}")));
        }
        Ok(carried)
    }

    fn note(&mut self, sibling: &str, what: &str) {
        self.notes.push(format!("{sibling} {what}, which a new partition does not get by itself"));
    }

    /// What makes the new table, in double quotes, as its sibling is.
    pub(crate) fn statements(&self, new: &str) -> Vec<String> {
        let alters = self.alters.iter().map(|what| format!("ALTER TABLE {new} {what}"));
        alters.chain(self.grants(new)).collect()
    }

    /// The sibling's grants, on another table, in double quotes.
    pub(crate) fn grants(&self, new: &str) -> Vec<String> {
        let grants = self.grants.iter();
        grants.map(|(privilege, to)| format!("GRANT {privilege} ON {new} TO {to}")).collect()
    }
}

/// An option such as `fillfactor=70`, as CREATE TABLE takes it.
fn storage(option: &str) -> Option<String> {
    let (name, value) = option.split_once('=')?;
    Some(format!("{} = {}", identifier(name), literal(value)))
}
