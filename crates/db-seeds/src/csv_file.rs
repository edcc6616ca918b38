//! A table as a CSV file: the header names the columns, an empty field without quotes is NULL, `""` is the
//! empty text.
//!
//! The rules are RFC 4180's, and NULL is as COPY's CSV format has it. The server's own reading is not relied
//! on: before PostgreSQL 18 it takes a line `\.` for the end of the data, and it takes an empty line for a
//! row of one NULL. So the file is read here and sent in COPY's text format, and each row is counted by the
//! reader that sends it.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use crate::error::{Error, Place, Result};
use crate::value::escape;

/// The shape of a CSV file that has been read through.
#[derive(Debug)]
pub(crate) struct CsvFile {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: u64,
}

impl CsvFile {
    pub(crate) fn read(file: &Path) -> Result<CsvFile> {
        let mut reader = CsvReader::open(file)?;
        let columns = reader.header()?;
        let mut rows = 0;
        while let Some(record) = reader.record()? {
            if record.fields.len() != columns.len() {
                let found = format!(
                    "{} fields, where the header names {} columns",
                    record.fields.len(),
                    columns.len()
                );
                return Err(Error::malformed(Place::line(file, record.line), found));
            }
            rows += 1;
        }
        Ok(CsvFile { columns, rows })
    }
}

/// The line on which a row of a file begins; rows count from 1, behind the header.
pub(crate) fn line_of_row(file: &Path, row: u64) -> Option<u64> {
    let mut reader = CsvReader::open(file).ok()?;
    reader.record().ok()?;
    for _ in 1..row {
        reader.record().ok()??;
    }
    Some(reader.record().ok()??.line)
}

/// One row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// The line on which it begins, from 1.
    pub(crate) line: u64,
    /// None is NULL.
    pub(crate) fields: Vec<Option<String>>,
}

impl Record {
    /// Writes the row as COPY's text format wants it.
    pub(crate) fn copy_into(&self, out: &mut String) {
        for (index, field) in self.fields.iter().enumerate() {
            if index > 0 {
                out.push('\t');
            }
            match field {
                None => out.push_str("\\N"),
                Some(text) => escape(text, out),
            }
        }
        out.push('\n');
    }
}

/// Reads a CSV file row by row.
#[derive(Debug)]
pub(crate) struct CsvReader<R = BufReader<File>> {
    input: R,
    file: PathBuf,
    /// The lines that were read so far.
    line: u64,
}

impl CsvReader {
    pub(crate) fn open(file: &Path) -> Result<Self> {
        let input = File::open(file).map_err(|source| Error::unreadable(file, source))?;
        Ok(CsvReader { input: BufReader::new(input), file: file.to_owned(), line: 0 })
    }
}

impl<R: BufRead> CsvReader<R> {
    /// The first row: the names of the columns.
    pub(crate) fn header(&mut self) -> Result<Vec<String>> {
        let fields = self.record()?.map(|record| record.fields).unwrap_or_default();
        let columns: Vec<String> = fields.into_iter().map(Option::unwrap_or_default).collect();
        check_header(&self.file, &columns)?;
        Ok(columns)
    }

    /// The next row; none at the end of the file.
    pub(crate) fn record(&mut self) -> Result<Option<Record>> {
        let mut text = String::new();
        if !self.more(&mut text)? {
            return Ok(None);
        }
        let line = self.line;
        if matches!(text.as_str(), "\n" | "\r\n") {
            let found = "the line is empty: remove it, or write \"\" for the empty text";
            return Err(self.malformed(line, found));
        }
        let (mut fields, mut at) = (Vec::new(), 0);
        loop {
            let field;
            (field, at) = match text.as_bytes().get(at) {
                Some(b'"') => self.quoted(&mut text, at + 1)?,
                _ => self.plain(&text, at)?,
            };
            fields.push(field);
            match text.get(at..) {
                Some("" | "\n" | "\r\n") | None => return Ok(Some(Record { line, fields })),
                Some(rest) if rest.starts_with(',') => at += 1,
                Some(_) => return Err(self.malformed(self.line, "something stands behind a closing quote")),
            }
        }
    }

    /// A field without quotes that begins at `at`, and where it ends.
    fn plain(&self, text: &str, at: usize) -> Result<(Option<String>, usize)> {
        let rest = text.get(at..).unwrap_or_default();
        let length = rest.find([',', '\n', '\r', '"']).unwrap_or(rest.len());
        match rest.get(length..) {
            Some(behind) if behind.starts_with('"') => {
                let found =
                    "a quote in a field without quotes: put the field in quotes, and double the quote";
                Err(self.malformed(self.line, found))
            }
            Some(behind) if behind.starts_with('\r') && behind != "\r\n" => {
                Err(self
                    .malformed(self.line, "a carriage return without a line feed: put the field in quotes"))
            }
            _ => {
                let field = rest.get(..length).filter(|field| !field.is_empty());
                Ok((field.map(str::to_owned), at + length))
            }
        }
    }

    /// A field whose opening quote is before `at`, and where it ends. It may go on over several lines.
    fn quoted(&mut self, text: &mut String, mut at: usize) -> Result<(Option<String>, usize)> {
        let (mut field, opened) = (String::new(), self.line);
        loop {
            let rest = text.get(at..).unwrap_or_default();
            let Some(length) = rest.find('"') else {
                field.push_str(rest);
                at = text.len();
                if !self.more(text)? {
                    return Err(self.malformed(opened, "the quote that opens a field here is never closed"));
                }
                continue;
            };
            field.push_str(rest.get(..length).unwrap_or_default());
            at += length + 1;
            if text.as_bytes().get(at) != Some(&b'"') {
                return Ok((Some(field), at));
            }
            field.push('"');
            at += 1;
        }
    }

    /// Appends the next line, with its end; false at the end of the file.
    fn more(&mut self, text: &mut String) -> Result<bool> {
        let mut bytes = Vec::new();
        let read = self.input.read_until(b'\n', &mut bytes);
        if read.map_err(|source| Error::unreadable(&self.file, source))? == 0 {
            return Ok(false);
        }
        self.line += 1;
        let line = std::str::from_utf8(&bytes).map_err(|_| self.malformed(self.line, "this is not UTF-8"))?;
        // Excel marks its files so.
        let line = if self.line == 1 { line.strip_prefix('\u{feff}').unwrap_or(line) } else { line };
        text.push_str(line);
        Ok(!line.is_empty())
    }

    fn malformed(&self, line: u64, found: &str) -> Error {
        Error::malformed(Place::line(&self.file, line), found)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows, as COPY's text format has them and with their lines, or what is wrong.
    fn rows(text: &str) -> String {
        let mut reader = CsvReader { input: text.as_bytes(), file: PathBuf::from("f"), line: 0 };
        let mut out = String::new();
        loop {
            match reader.record() {
                Ok(None) => return out,
                Ok(Some(record)) => {
                    out.push_str(&format!("{} ", record.line));
                    record.copy_into(&mut out);
                }
                Err(error) => return error.to_string(),
            }
        }
    }

    #[test]
    fn rows_are_sent_as_they_are_written() {
        assert_eq!(rows("a,b\n1,2"), "1 a\tb\n2 1\t2\n");
        assert_eq!(rows("\u{feff}a,b\r\n,\"\"\r\n"), "1 a\tb\n2 \\N\t\n");
        assert_eq!(rows("\"x\ny\",\"say \"\"hi\"\"\"\n1,"), "1 x\\ny\tsay \"hi\"\n3 1\t\\N\n");
        assert_eq!(rows("\\.\n\\N\n\"a\n\\.\nb\"\n"), "1 \\\\.\n2 \\\\N\n3 a\\n\\\\.\\nb\n");
        assert_eq!(rows("\"\"\n\"a\r\nb\"\r\n"), "1 \n2 a\\r\\nb\n");
        assert_eq!(rows(""), "");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused_with_its_line() {
        for (text, line, word) in [
            ("a\n1\n\n", 3, "empty"),
            ("a\r\n\r\n1\r\n", 2, "empty"),
            ("a\nx\"y\"\n", 2, "without quotes"),
            ("a\n\"x\"y\n", 2, "behind a closing quote"),
            ("a\n\"x\n1\n", 2, "never closed"),
            ("a\n1\r2\n", 2, "carriage return"),
        ] {
            let error = rows(text);
            assert!(error.starts_with(&format!("f:{line}: ")) && error.contains(word), "{text:?}: {error}");
        }
    }
}
