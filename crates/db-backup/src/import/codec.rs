//! How pgBackRest compresses a file, and how its bytes are read back.

use std::io::Read;

/// How a file is compressed, by the name that `compress-type` has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    None,
    Gz,
    Lz4,
    Zst,
    Bz2,
}

const ALL: [Codec; 5] = [Codec::None, Codec::Gz, Codec::Lz4, Codec::Zst, Codec::Bz2];

impl Codec {
    /// The one with this name; `None` where there is none.
    pub(super) fn named(name: &str) -> Option<Codec> {
        ALL.into_iter().find(|codec| codec.name() == name)
    }

    /// The one by which a file with this name is compressed.
    pub(super) fn of_file(name: &str) -> Codec {
        let by_suffix = |codec: &Codec| !codec.suffix().is_empty() && name.ends_with(codec.suffix());
        ALL.into_iter().find(by_suffix).unwrap_or(Codec::None)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gz => "gz",
            Codec::Lz4 => "lz4",
            Codec::Zst => "zst",
            Codec::Bz2 => "bz2",
        }
    }

    /// What stands behind the file's name.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Codec::None => "",
            Codec::Gz => ".gz",
            Codec::Lz4 => ".lz4",
            Codec::Zst => ".zst",
            Codec::Bz2 => ".bz2",
        }
    }

    /// The plain bytes. In the raw form gzip has no header; the others have one all the same.
    pub(super) fn plain<'a>(
        self,
        packed: impl Read + Send + 'a,
        raw: bool,
    ) -> std::io::Result<Box<dyn Read + Send + 'a>> {
        Ok(match self {
            Codec::None => Box::new(packed),
            Codec::Gz if raw => Box::new(flate2::read::DeflateDecoder::new(packed)),
            Codec::Gz => Box::new(flate2::read::MultiGzDecoder::new(packed)),
            Codec::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(packed)),
            Codec::Zst => Box::new(zstd::stream::read::Decoder::new(packed)?),
            Codec::Bz2 => Box::new(bzip2::read::MultiBzDecoder::new(packed)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_compression() {
        assert_eq!(Codec::of_file("000000010000000000000001-ab.zst"), Codec::Zst);
        assert_eq!(Codec::of_file("00000002.history"), Codec::None);
        assert_eq!(Codec::named("bz2"), Some(Codec::Bz2));
        assert_eq!(Codec::named("lzma"), None);
    }
}
