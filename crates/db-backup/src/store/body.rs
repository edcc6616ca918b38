//! Reads the body of an answer into memory that the caller uses again.

use std::io::{Read, Seek, SeekFrom};

use futures_util::TryStreamExt;
use object_store::{Error, GetResult, GetResultPayload};

use super::fault::cut_off;

/// The bytes of the answer, in this buffer. A body that is cut off or too long is an error, and asked for
/// again.
pub(super) async fn read(found: GetResult, mut buffer: Vec<u8>) -> object_store::Result<Vec<u8>> {
    let expected =
        usize::try_from(found.range.end.saturating_sub(found.range.start)).map_err(|_| cut_off())?;
    buffer.clear();
    buffer.reserve_exact(expected);
    match found.payload {
        GetResultPayload::File(mut file, _) => {
            let begins = found.range.start;
            let read = move || {
                file.seek(SeekFrom::Start(begins))?;
                file.take(expected as u64).read_to_end(&mut buffer)?;
                Ok(buffer)
            };
            let read = tokio::task::spawn_blocking(read).await.map_err(std::io::Error::other).flatten();
            buffer =
                read.map_err(|error| Error::Generic { store: "LocalFileSystem", source: Box::new(error) })?;
        }
        GetResultPayload::Stream(mut pieces) => {
            while let Some(piece) = pieces.try_next().await? {
                if buffer.len() + piece.len() > expected {
                    return Err(cut_off());
                }
                buffer.extend_from_slice(&piece);
            }
        }
    }
    if buffer.len() == expected { Ok(buffer) } else { Err(cut_off()) }
}
