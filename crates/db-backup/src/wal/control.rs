//! Reads from a data directory's pg_control whose it is.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::physical_error::PhysicalError;

/// The system identifier of the cluster in a data directory: the first eight bytes of `global/pg_control`.
pub(crate) fn system_of(data_directory: &Path) -> Result<u64, PhysicalError> {
    let path = data_directory.join("global/pg_control");
    let mut first = [0; 8];
    let read = File::open(&path).and_then(|mut file| file.read_exact(&mut first));
    read.map_err(PhysicalError::at("read", &path))?;
    Ok(u64::from_le_bytes(first))
}

/// The data directory to which a file in its `pg_wal` belongs, by the path that the server gives for %p.
pub(super) fn data_directory_of(path: &Path) -> &Path {
    let above = path.parent().and_then(Path::parent);
    above.filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
