//! Puts values in the place of `${name}`, for what differs between databases: a role, a tablespace, a schema.
//!
//! Off unless values are given, since `${…}` may stand in any text. Checksums are of the files as they are,
//! so that another value does not look like an edit.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::MigrationError;
use crate::source::{Migration, Migrations};

impl Migrations {
    /// The same with values in the place of `${name}`, wherever it stands: in strings and bodies too.
    ///
    /// ```
    /// # use db_migrations::{MigrationError, Migrations};
    /// # fn of(migrations: Migrations) -> Result<Migrations, MigrationError> {
    /// migrations.with_placeholders(&[("owner".to_owned(), "app".to_owned())].into())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`MigrationError::Placeholder`] where a file has one without a value.
    pub fn with_placeholders(mut self, values: &BTreeMap<String, String>) -> Result<Self, MigrationError> {
        for migration in self.each_mut() {
            let (up_file, down_file) = (migration.up_file(), migration.down_file());
            migration.up = filled(&migration.up, values, &up_file)?;
            migration.down =
                migration.down.as_ref().map(|down| filled(down, values, &down_file)).transpose()?;
        }
        Ok(self)
    }

    fn each_mut(&mut self) -> impl Iterator<Item = &mut Migration> {
        self.all.iter_mut().chain(&mut self.repeatable)
    }
}

fn filled(text: &str, values: &BTreeMap<String, String>, file: &Path) -> Result<String, MigrationError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("${") {
        out.push_str(before);
        let name = behind.split_once('}').map(|(name, _)| name).filter(|name| is_name(name));
        let Some(name) = name else {
            out.push_str("${");
            rest = behind;
            continue;
        };
        let Some(value) = values.get(name) else {
            let line = text.len() - behind.len();
            let line = text.get(..line).unwrap_or_default().matches('\n').count() + 1;
            return Err(MigrationError::Placeholder { file: file.to_owned(), line, name: name.to_owned() });
        };
        out.push_str(value);
        rest = behind.get(name.len() + 1..).unwrap_or_default();
    }
    out.push_str(rest);
    Ok(out)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_where_their_names_stood() {
        let values = [("a".to_owned(), "x".to_owned()), ("b_2".to_owned(), "${a}".to_owned())].into();
        let fill = |text: &str| filled(text, &values, Path::new("1_a/up.sql"));
        assert_eq!(
            fill("GRANT ${a} TO '${b_2}' $${a}$$ ${} ${not a name} $").unwrap(),
            "GRANT x TO '${a}' $x$$ ${} ${not a name} $"
        );
        let missing = fill("SELECT 1;\n SELECT '${c}'").unwrap_err().to_string();
        assert!(missing.starts_with("1_a/up.sql:2: the placeholder ${c} has no value"), "{missing}");
    }
}
