//! A deserializer that answers every question with a sample, and writes the questions down.

use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor};
use xxhash_rust::xxh3::Xxh3;

/// Texts that types which parse one accept: each pass tries the next.
const TEXTS: [&str; 8] = [
    "a",
    "1970-01-01T00:00:00Z",
    "00000000-0000-0000-0000-000000000001",
    "1970-01-01",
    "00:00:00",
    "1",
    "127.0.0.1",
    "1970-01-01T00:00:00",
];

const BYTES: [&[u8]; 3] = [&[0; 16], &[], &[0; 4]];

/// A type that refers to itself is followed so far, and a list or an option is empty from there on.
const DEEPEST: usize = 8;

/// More variants than that are told by their names only.
const MOST_PASSES: usize = 64;

/// Writes down what a type asks for, in as many passes as its largest enum has variants.
pub(super) fn trace<V: DeserializeOwned>(hash: &mut Xxh3) {
    let (mut pass, mut passes) = (0, 1);
    while pass < passes.min(MOST_PASSES) {
        let mut trace = Trace { hash, pass, variants: 1 };
        let refused = V::deserialize(Tracer { trace: &mut trace, depth: 0 }).is_err();
        passes = passes.max(trace.variants).max(if refused { TEXTS.len() } else { 1 });
        pass += 1;
    }
}

struct Trace<'h> {
    hash: &'h mut Xxh3,
    pass: usize,
    variants: usize,
}

struct Tracer<'t, 'h> {
    trace: &'t mut Trace<'h>,
    depth: usize,
}

#[derive(Debug)]
struct Refused;

impl Trace<'_> {
    fn write(&mut self, text: &str) {
        self.hash.update(&(text.len() as u64).to_le_bytes());
        self.hash.update(text.as_bytes());
    }

    fn write_all(&mut self, name: &str, parts: &[&str]) {
        self.write(name);
        self.write(&parts.len().to_string());
        parts.iter().for_each(|part| self.write(part));
    }
}

impl<'t, 'h> Tracer<'t, 'h> {
    fn items<'s>(&'s mut self, count: usize) -> Items<'s, 'h> {
        Items { trace: self.trace, left: count, depth: self.depth + 1 }
    }

    fn is_deep(&self) -> bool {
        self.depth >= DEEPEST
    }
}

macro_rules! samples {
    ($($method:ident => $visit:ident($($sample:expr)?),)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
            self.trace.write(stringify!($method));
            visitor.$visit($($sample)?)
        })*
    };
}

impl<'de> de::Deserializer<'de> for Tracer<'_, '_> {
    type Error = Refused;

    samples! {
        deserialize_any => visit_unit(),
        deserialize_bool => visit_bool(true),
        deserialize_i8 => visit_i8(1),
        deserialize_i16 => visit_i16(1),
        deserialize_i32 => visit_i32(1),
        deserialize_i64 => visit_i64(1),
        deserialize_i128 => visit_i128(1),
        deserialize_u8 => visit_u8(1),
        deserialize_u16 => visit_u16(1),
        deserialize_u32 => visit_u32(1),
        deserialize_u64 => visit_u64(1),
        deserialize_u128 => visit_u128(1),
        deserialize_f32 => visit_f32(1.0),
        deserialize_f64 => visit_f64(1.0),
        deserialize_char => visit_char('a'),
        deserialize_unit => visit_unit(),
        deserialize_ignored_any => visit_unit(),
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.trace.write("str");
        visitor.visit_borrowed_str(TEXTS[self.trace.pass % TEXTS.len()])
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.trace.write("bytes");
        visitor.visit_borrowed_bytes(BYTES[self.trace.pass % BYTES.len()])
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.trace.write("option");
        match self.is_deep() {
            true => visitor.visit_none(),
            false => visitor.visit_some(Tracer { trace: self.trace, depth: self.depth + 1 }),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.trace.write(name);
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.trace.write(name);
        visitor.visit_newtype_struct(Tracer { trace: self.trace, depth: self.depth + 1 })
    }

    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refused> {
        self.trace.write("seq");
        let count = usize::from(!self.is_deep());
        visitor.visit_seq(self.items(count))
    }

    fn deserialize_tuple<V: Visitor<'de>>(mut self, length: usize, visitor: V) -> Result<V::Value, Refused> {
        self.trace.write_all("tuple", &[&length.to_string()]);
        visitor.visit_seq(self.items(length))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.trace.write(name);
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refused> {
        self.trace.write("map");
        let count = usize::from(!self.is_deep());
        visitor.visit_map(self.items(count))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.trace.write_all(name, fields);
        visitor.visit_seq(self.items(fields.len()))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.trace.write_all(name, variants);
        self.trace.variants = self.trace.variants.max(variants.len());
        visitor.visit_enum(Variant { index: self.trace.pass % variants.len().max(1), tracer: self })
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.trace.write("identifier");
        visitor.visit_u64(0)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

struct Items<'t, 'h> {
    trace: &'t mut Trace<'h>,
    left: usize,
    depth: usize,
}

impl Items<'_, '_> {
    fn next<'de, S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Refused> {
        // A type that refers to itself without a list or an option in between has no values.
        if self.depth > DEEPEST * 4 {
            return Err(Refused);
        }
        seed.deserialize(Tracer { trace: self.trace, depth: self.depth })
    }
}

impl<'de> de::SeqAccess<'de> for Items<'_, '_> {
    type Error = Refused;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Refused> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.next(seed).map(Some)
    }
}

impl<'de> de::MapAccess<'de> for Items<'_, '_> {
    type Error = Refused;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Refused> {
        de::SeqAccess::next_element_seed(self, seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Refused> {
        self.next(seed)
    }
}

struct Variant<'t, 'h> {
    index: usize,
    tracer: Tracer<'t, 'h>,
}

impl<'de> de::EnumAccess<'de> for Variant<'_, '_> {
    type Error = Refused;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Refused> {
        let index = u32::try_from(self.index).map_err(|_| Refused)?;
        let index: de::value::U32Deserializer<Refused> = index.into_deserializer();
        seed.deserialize(index).map(|variant| (variant, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_, '_> {
    type Error = Refused;

    fn unit_variant(self) -> Result<(), Refused> {
        self.tracer.trace.write("unit");
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Refused> {
        self.tracer.trace.write("newtype");
        seed.deserialize(Tracer { depth: self.tracer.depth + 1, ..self.tracer })
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Refused> {
        de::Deserializer::deserialize_tuple(self.tracer, length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        de::Deserializer::deserialize_struct(self.tracer, "variant", fields, visitor)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it refuses the samples")
    }
}

impl std::error::Error for Refused {}

impl de::Error for Refused {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Refused
    }
}
