//! A table as a CSV file: the header names the columns, an empty field without quotes is NULL, `""` is the empty text.
//!
//! The server reads the same rules from COPY's CSV format, so the file is sent as it is. Reading it here first gives
//! its shape: the columns, the number of rows, and errors with a line before anything is sent.

use std::path::Path;

use crate::error::{Error, Place, Result};

/// The shape of a CSV file that has been read through.
#[derive(Debug)]
pub(crate) struct CsvFile {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: u64,
}

impl CsvFile {
    pub(crate) fn read(file: &Path) -> Result<CsvFile> {
        let mut reader =
            csv::ReaderBuilder::new().flexible(true).from_path(file).map_err(|error| broken(file, error))?;
        let columns: Vec<String> =
            reader.headers().map_err(|error| broken(file, error))?.iter().map(str::to_owned).collect();
        check_header(file, &columns)?;
        let mut record = csv::StringRecord::new();
        let mut rows = 0;
        while reader.read_record(&mut record).map_err(|error| broken(file, error))? {
            if record.len() != columns.len() {
                let line = record.position().map_or(0, csv::Position::line);
                let found =
                    format!("{} fields, where the header names {} columns", record.len(), columns.len());
                return Err(Error::malformed(Place::line(file, line), found));
            }
            rows += 1;
        }
        Ok(CsvFile { columns, rows })
    }
}

fn check_header(file: &Path, columns: &[String]) -> Result<()> {
    let header = Place::line(file, 1);
    for (index, column) in columns.iter().enumerate() {
        let plain = column.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if column.is_empty() || !plain {
            return Err(Error::malformed(
                header,
                format!("{column:?} is no column name (lower case, digits, _)"),
            ));
        }
        if columns[..index].contains(column) {
            return Err(Error::malformed(header, format!("column {column} is named twice")));
        }
    }
    if columns.is_empty() {
        return Err(Error::malformed(header, "the header that names the columns is missing"));
    }
    Ok(())
}

fn broken(file: &Path, error: csv::Error) -> Error {
    let line = error.position().map(csv::Position::line);
    let place = Place { line, ..Place::file(file) };
    match error.into_kind() {
        csv::ErrorKind::Io(source) => Error::unreadable(file, source),
        csv::ErrorKind::Utf8 { err, .. } => {
            Error::malformed(place, format!("field {} is not UTF-8", err.field() + 1))
        }
        _ => Error::malformed(place, "this is not CSV"),
    }
}
