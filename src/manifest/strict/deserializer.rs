//! The deserializer behind [`from_value`](super::from_value).

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde_json::{Map, Value, map};

use super::{Problem, StrictError, describe};

/// Reads one value.
#[derive(Clone, Copy)]
pub(super) struct Reader<'de>(pub(super) &'de Value);

impl<'de> Reader<'de> {
    fn expected(self, expected: impl Into<String>) -> StrictError {
        Problem::InvalidType { found: describe(self.0), expected: expected.into() }.into()
    }

    fn integer<V: Visitor<'de>>(self, min: i64, max: u64, visitor: V) -> Result<V::Value, StrictError> {
        let Value::Number(number) = self.0 else { return Err(self.expected("a whole number")) };
        let expected = match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(value), ..) if value <= max => return visitor.visit_u64(value),
            (None, Some(value), _) if value >= min => return visitor.visit_i64(value),
            (None, None, Some(value)) if value.fract() != 0.0 => return Err(self.expected("a whole number")),
            (None, Some(_), _) => format!("a whole number of at least {min}"),
            (None, None, Some(value)) if value < 0.0 => format!("a whole number of at least {min}"),
            _ => format!("a whole number of at most {max}"),
        };
        Err(Problem::InvalidValue { found: describe(self.0), expected }.into())
    }

    fn mapping<V: Visitor<'de>>(
        self,
        fields: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, StrictError> {
        let entries = match self.0 {
            Value::Object(entries) => Some(entries.iter()),
            Value::Null => None,
            _ => return Err(self.expected("a mapping")),
        };
        visitor.visit_map(Mapping { entries, fields, value: None })
    }

    fn list<V: Visitor<'de>>(self, length: Option<usize>, visitor: V) -> Result<V::Value, StrictError> {
        let items = match self.0 {
            Value::Array(items) => items.as_slice(),
            Value::Null => &[],
            _ => return Err(self.expected("a list")),
        };
        if let Some(length) = length.filter(|length| *length != items.len()) {
            return Err(Problem::InvalidLength {
                length: items.len(),
                expected: format!("a list of {length}"),
            }
            .into());
        }
        visitor.visit_seq(List(items.iter().enumerate()))
    }
}

macro_rules! integers {
    ($($method:ident $type:ty),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, StrictError> {
            // Each of these types fits one of the two bounds without loss.
            #[allow(clippy::unnecessary_cast)]
            self.integer(<$type>::MIN as i64, <$type>::MAX as u64, visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = StrictError;

    integers!(
        deserialize_i8 i8, deserialize_i16 i16, deserialize_i32 i32, deserialize_i64 i64,
        deserialize_u8 u8, deserialize_u16 u16, deserialize_u32 u32, deserialize_u64 u64
    );

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, StrictError> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(value), _) => visitor.visit_u64(value),
                (None, Some(value)) => visitor.visit_i64(value),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(value) => visitor.visit_borrowed_str(value),
            Value::Array(_) => self.list(None, visitor),
            Value::Object(_) => self.mapping(None, visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, StrictError> {
        match self.0 {
            Value::Bool(value) => visitor.visit_bool(*value),
            _ => Err(self.expected("true or false")),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, StrictError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, StrictError> {
        match self.0.as_f64() {
            Some(value) => visitor.visit_f64(value),
            None => Err(self.expected("a number")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, StrictError> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, StrictError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, StrictError> {
        self.list(None, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, StrictError> {
        self.list(Some(length), visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, StrictError> {
        self.list(Some(length), visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, StrictError> {
        self.mapping(None, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, StrictError> {
        self.mapping(Some(fields), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, StrictError> {
        match self.0 {
            Value::String(variant) => visitor.visit_enum(Variant { name: Name(variant), content: None }),
            Value::Object(fields) => match single(fields) {
                Some((variant, content)) => {
                    visitor.visit_enum(Variant { name: Name(variant), content: Some(content) })
                }
                None => Err(self.expected(format!("exactly one of {}", variants.join(", ")))),
            },
            _ => Err(self.expected(format!("one of {}", variants.join(", ")))),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, StrictError> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct identifier
    }
}

fn single(fields: &Map<String, Value>) -> Option<(&String, &Value)> {
    let mut entries = fields.iter();
    entries.next().filter(|_| entries.next().is_none())
}

struct List<'de>(std::iter::Enumerate<std::slice::Iter<'de, Value>>);

impl<'de> SeqAccess<'de> for List<'de> {
    type Error = StrictError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, StrictError> {
        let Some((index, item)) = self.0.next() else { return Ok(None) };
        let item = seed.deserialize(Reader(item)).map_err(|error| error.in_field(&index.to_string()))?;
        Ok(Some(item))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

struct Mapping<'de> {
    /// None stands for an empty mapping.
    entries: Option<map::Iter<'de>>,
    /// A struct's fields, which null leaves out.
    fields: Option<&'static [&'static str]>,
    value: Option<(&'de str, &'de Value)>,
}

impl<'de> MapAccess<'de> for Mapping<'de> {
    type Error = StrictError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, StrictError> {
        let known = |name: &str| self.fields.is_some_and(|fields| fields.contains(&name));
        let next = self
            .entries
            .as_mut()
            .and_then(|entries| entries.find(|(name, value)| !(value.is_null() && known(name))));
        let Some((name, value)) = next else { return Ok(None) };
        self.value = Some((name, value));
        seed.deserialize(Name(name)).map(Some).map_err(|error| error.in_field(name))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, StrictError> {
        // Serde asks for a value only after its key.
        let Some((name, value)) = self.value.take() else {
            return Err(StrictError::other("", "a value was asked for before its key"));
        };
        seed.deserialize(Reader(value)).map_err(|error| error.in_field(name))
    }
}

/// Reads a key or the name of a variant.
#[derive(Clone, Copy)]
struct Name<'de>(&'de str);

impl<'de> Deserializer<'de> for Name<'de> {
    type Error = StrictError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, StrictError> {
        visitor.visit_borrowed_str(self.0)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, StrictError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, StrictError> {
        visitor.visit_enum(Variant { name: self, content: None })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// A variant written as its name alone, or as `{name: content}`.
struct Variant<'de> {
    name: Name<'de>,
    content: Option<&'de Value>,
}

impl<'de> Variant<'de> {
    /// Reads what the variant holds, which a name alone can't give.
    fn content<T>(self, read: impl FnOnce(Reader<'de>) -> Result<T, StrictError>) -> Result<T, StrictError> {
        let name = self.name.0;
        match self.content {
            Some(content) => read(Reader(content)).map_err(|error| error.in_field(name)),
            None => {
                Err(Problem::InvalidType { found: format!("{name:?}"), expected: format!("{{{name}: …}}") }
                    .into())
            }
        }
    }
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = StrictError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), StrictError> {
        match (seed.deserialize(self.name), self.content) {
            (Ok(variant), _) => Ok((variant, self)),
            (Err(error), Some(_)) => Err(error.in_field(self.name.0)),
            (Err(error), None) => Err(error),
        }
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = StrictError;

    fn unit_variant(self) -> Result<(), StrictError> {
        match self.content {
            None | Some(Value::Null) => Ok(()),
            Some(_) => self.content(|content| Err(content.expected("nothing"))),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, StrictError> {
        self.content(|content| seed.deserialize(content))
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, StrictError> {
        self.content(|content| content.list(Some(length), visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, StrictError> {
        self.content(|content| content.mapping(Some(fields), visitor))
    }
}
