//! The fingerprint of a value's type: what serde asks for when it reads one, as a number.
//!
//! postcard reads bytes of another type as wrong values without noticing, so a changed field must change the
//! number by itself. A type that refuses every sample (one that parses a text of its own) is followed up to
//! there, and its name counts.

mod tracer;

use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::Xxh3;

use crate::codec::Codec;

/// A number that is another one for each type, codec and schema number.
pub(crate) fn fingerprint<V: DeserializeOwned>(codec: Codec, schema: u32) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&[codec.id()]);
    hash.update(&schema.to_le_bytes());
    hash.update(std::any::type_name::<V>().as_bytes());
    tracer::trace::<V>(&mut hash);
    hash.digest()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    mod one {
        use super::Deserialize;

        #[derive(Deserialize)]
        pub(super) struct Row {
            _id: i64,
            _kind: super::Kind,
            _when: Option<Vec<super::Inner>>,
        }
    }

    #[derive(Deserialize)]
    struct Inner {
        _a: u32,
    }

    #[derive(Deserialize)]
    enum Kind {
        _A,
        _B { _x: u8 },
        _C,
    }

    /// The trace alone, without the type's name.
    fn traced<V: DeserializeOwned>() -> u64 {
        let mut hash = Xxh3::new();
        tracer::trace::<V>(&mut hash);
        hash.digest()
    }

    #[test]
    fn a_changed_field_or_variant_changes_it() {
        macro_rules! version {
            ($name:ident, $kind:item, $row:item) => {
                mod $name {
                    use serde::Deserialize;
                    #[derive(Deserialize)]
                    $kind
                    #[derive(Deserialize)]
                    $row
                }
            };
        }
        version!(
            base,
            pub(super) enum Kind {
                _A,
                _B { _x: u8 },
            },
            pub(super) struct Row {
                _id: i64,
                _kind: Kind,
            }
        );
        version!(
            added,
            pub(super) enum Kind {
                _A,
                _B { _x: u8 },
            },
            pub(super) struct Row {
                _id: i64,
                _kind: Kind,
                _new: bool,
            }
        );
        version!(
            wider,
            pub(super) enum Kind {
                _A,
                _B { _x: u16 },
            },
            pub(super) struct Row {
                _id: i64,
                _kind: Kind,
            }
        );
        version!(
            variant,
            pub(super) enum Kind {
                _A,
                _B { _x: u8 },
                _C,
            },
            pub(super) struct Row {
                _id: i64,
                _kind: Kind,
            }
        );
        version!(
            optional,
            pub(super) enum Kind {
                _A,
                _B { _x: u8 },
            },
            pub(super) struct Row {
                _id: Option<i64>,
                _kind: Kind,
            }
        );
        version!(
            renamed,
            pub(super) enum Kind {
                _A,
                _B { _y: u8 },
            },
            pub(super) struct Row {
                _id: i64,
                _kind: Kind,
            }
        );
        let all = [
            traced::<base::Row>(),
            traced::<added::Row>(),
            traced::<wider::Row>(),
            traced::<variant::Row>(),
            traced::<optional::Row>(),
            traced::<renamed::Row>(),
            traced::<one::Row>(),
        ];
        let different: std::collections::BTreeSet<u64> = all.into_iter().collect();
        assert_eq!(different.len(), all.len());
        assert_eq!(traced::<one::Row>(), traced::<one::Row>());
    }

    #[test]
    fn types_that_refer_to_themselves_end() {
        #[derive(Deserialize)]
        struct Tree {
            _children: Vec<Tree>,
            _parent: Option<Box<Tree>>,
        }
        assert_ne!(traced::<Tree>(), traced::<Vec<serde_json::Value>>());
    }

    #[test]
    fn the_schema_number_and_the_codec_count() {
        let of = fingerprint::<Inner>;
        assert_ne!(of(Codec::Postcard, 0), of(Codec::Postcard, 1));
        assert_ne!(of(Codec::Postcard, 0), of(Codec::MessagePack, 0));
    }
}
