//! Names and values of settings: the process's environment, and a file of them where one is given.
//!
//! archive_command and restore_command run with the server's environment, and cron with nearly none, so a
//! program that they start is given a file.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::args::Options;
use crate::error::CliError;

/// What is set: the environment, and what it leaves out from the file.
pub(crate) fn all(options: &Options) -> Result<HashMap<String, String>, CliError> {
    let mut vars = match &options.settings {
        Some(file) => of_file(file)?,
        None => HashMap::new(),
    };
    let environment = std::env::vars_os();
    vars.extend(
        environment.filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok())),
    );
    Ok(vars)
}

/// What a file says: a line `NAME=value` for each, with or without quotes; `#` begins a line that says
/// nothing.
pub(crate) fn of_file(file: &Path) -> Result<HashMap<String, String>, CliError> {
    let text = std::fs::read_to_string(file).map_err(CliError::file(file))?;
    let mode = std::fs::metadata(file).map_err(CliError::file(file))?.permissions().mode();
    if mode & 0o007 != 0 {
        tracing::warn!("everybody on this machine can read {}: chmod o= it", file.display());
    }
    parse(&text).map_err(|line| CliError::SettingsFile { path: file.to_owned(), line })
}

/// The names and values, or the number of the line that is neither. A value is never quoted in an error.
fn parse(text: &str) -> Result<HashMap<String, String>, usize> {
    let mut vars = HashMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line.split_once('=').ok_or(index + 1)?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(index + 1);
        }
        let value = value.trim();
        let bare = ['"', '\'']
            .iter()
            .find_map(|quote| (value.len() > 1).then_some(value)?.strip_prefix(*quote)?.strip_suffix(*quote));
        vars.insert(name.to_owned(), bare.unwrap_or(value).to_owned());
    }
    Ok(vars)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_settings_is_read_as_shells_write_it() {
        let text = "# backups\n\nBACKUP_DIR=/srv/b\nexport APP_ENV='test'\nDATABASE_URL=\"postgres://a:b=c@d/e\"\nX='\n";
        let vars = parse(text).unwrap();
        assert_eq!(vars["BACKUP_DIR"], "/srv/b");
        assert_eq!(vars["APP_ENV"], "test");
        assert_eq!(vars["DATABASE_URL"], "postgres://a:b=c@d/e");
        assert_eq!(vars["X"], "'");
        assert_eq!(parse("A=1\nhunter2\n"), Err(2));
        assert_eq!(parse("A B=1\n"), Err(1));
    }
}
