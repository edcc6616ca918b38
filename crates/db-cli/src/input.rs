//! Reads a file that the command line names; `-` is standard input.

use std::io::Read as _;
use std::path::Path;

use crate::error::CliError;

/// The file's bytes.
pub(crate) fn bytes(path: &Path) -> Result<Vec<u8>, CliError> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map_err(CliError::file(path))?;
        return Ok(bytes);
    }
    std::fs::read(path).map_err(CliError::file(path))
}

/// The file's text.
pub(crate) fn text(path: &Path) -> Result<String, CliError> {
    let not_utf8 = |error| std::io::Error::new(std::io::ErrorKind::InvalidData, error);
    String::from_utf8(bytes(path)?).map_err(not_utf8).map_err(CliError::file(path))
}
