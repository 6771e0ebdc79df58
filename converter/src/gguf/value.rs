//! The values that stand under the keys of a GGUF file.

/// The number of the string type.
pub(super) const STRING: u32 = 8;
/// The number of the array type.
pub(super) const ARRAY: u32 = 9;

/// The value of one key.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    Str(String),
    Array(Array),
}

/// A list of values of one type; lists of lists are refused.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bool(Vec<bool>),
    Str(Vec<String>),
}

impl Value {
    /// The value as a count, from any whole type, if it is not negative.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::U8(v) => Some(v.into()),
            Self::U16(v) => Some(v.into()),
            Self::U32(v) => Some(v.into()),
            Self::U64(v) => Some(v),
            Self::I8(v) => v.try_into().ok(),
            Self::I16(v) => v.try_into().ok(),
            Self::I32(v) => v.try_into().ok(),
            Self::I64(v) => v.try_into().ok(),
            _ => None,
        }
    }

    /// The value as a single, from either floating type.
    #[must_use]
    pub fn as_f32(&self) -> Option<f32> {
        match *self {
            Self::F32(v) => Some(v),
            Self::F64(v) => Some(v as f32),
            _ => None,
        }
    }

    /// The value, if it is a boolean.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Bool(v) => Some(v),
            _ => None,
        }
    }

    /// The value, if it is a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(v) => Some(v),
            _ => None,
        }
    }

    /// The elements, if it is an array of strings; an empty array of any type is one.
    #[must_use]
    pub fn as_strs(&self) -> Option<&[String]> {
        match self {
            Self::Array(Array::Str(v)) => Some(v),
            Self::Array(other) if other.is_empty() => Some(&[]),
            _ => None,
        }
    }

    /// The elements, if it is an array of singles; an empty array of any type is one.
    #[must_use]
    pub fn as_f32s(&self) -> Option<&[f32]> {
        match self {
            Self::Array(Array::F32(v)) => Some(v),
            Self::Array(other) if other.is_empty() => Some(&[]),
            _ => None,
        }
    }

    /// The elements, if it is an array of `i32`; an empty array of any type is one.
    #[must_use]
    pub fn as_i32s(&self) -> Option<&[i32]> {
        match self {
            Self::Array(Array::I32(v)) => Some(v),
            Self::Array(other) if other.is_empty() => Some(&[]),
            _ => None,
        }
    }

    /// The elements, if it is an array of booleans; an empty array of any type is one.
    #[must_use]
    pub fn as_bools(&self) -> Option<&[bool]> {
        match self {
            Self::Array(Array::Bool(v)) => Some(v),
            Self::Array(other) if other.is_empty() => Some(&[]),
            _ => None,
        }
    }

    /// The elements as counts, from an array of any whole type, if none is negative.
    #[must_use]
    pub fn as_u64s(&self) -> Option<Vec<u64>> {
        match self {
            Self::Array(array) => array.counts(),
            _ => None,
        }
    }

    /// A value of fixed size from its bytes; `None` for a boolean that is neither 0 nor 1.
    pub(super) fn scalar(kind: u32, bytes: &[u8]) -> Option<Self> {
        Some(match Array::scalars(kind, bytes)? {
            Array::U8(v) => Self::U8(v[0]),
            Array::I8(v) => Self::I8(v[0]),
            Array::U16(v) => Self::U16(v[0]),
            Array::I16(v) => Self::I16(v[0]),
            Array::U32(v) => Self::U32(v[0]),
            Array::I32(v) => Self::I32(v[0]),
            Array::U64(v) => Self::U64(v[0]),
            Array::I64(v) => Self::I64(v[0]),
            Array::F32(v) => Self::F32(v[0]),
            Array::F64(v) => Self::F64(v[0]),
            Array::Bool(v) => Self::Bool(v[0]),
            Array::Str(_) => return None,
        })
    }
}

impl Array {
    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::U8(v) => v.len(),
            Self::I8(v) => v.len(),
            Self::U16(v) => v.len(),
            Self::I16(v) => v.len(),
            Self::U32(v) => v.len(),
            Self::I32(v) => v.len(),
            Self::U64(v) => v.len(),
            Self::I64(v) => v.len(),
            Self::F32(v) => v.len(),
            Self::F64(v) => v.len(),
            Self::Bool(v) => v.len(),
            Self::Str(v) => v.len(),
        }
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn counts(&self) -> Option<Vec<u64>> {
        fn all<T: Copy + TryInto<u64>>(values: &[T]) -> Option<Vec<u64>> {
            values.iter().map(|&v| v.try_into().ok()).collect()
        }
        match self {
            Self::U8(v) => all(v),
            Self::I8(v) => all(v),
            Self::U16(v) => all(v),
            Self::I16(v) => all(v),
            Self::U32(v) => all(v),
            Self::I32(v) => all(v),
            Self::U64(v) => all(v),
            Self::I64(v) => all(v),
            other => other.is_empty().then(Vec::new),
        }
    }

    /// Elements of fixed size from their bytes, a whole number of them.
    pub(super) fn scalars(kind: u32, bytes: &[u8]) -> Option<Self> {
        fn each<const N: usize, T>(bytes: &[u8], decode: fn([u8; N]) -> T) -> Vec<T> {
            bytes
                .as_chunks::<N>()
                .0
                .iter()
                .map(|&b| decode(b))
                .collect()
        }
        Some(match kind {
            0 => Self::U8(bytes.to_vec()),
            1 => Self::I8(each(bytes, i8::from_le_bytes)),
            2 => Self::U16(each(bytes, u16::from_le_bytes)),
            3 => Self::I16(each(bytes, i16::from_le_bytes)),
            4 => Self::U32(each(bytes, u32::from_le_bytes)),
            5 => Self::I32(each(bytes, i32::from_le_bytes)),
            6 => Self::F32(each(bytes, f32::from_le_bytes)),
            7 if bytes.iter().all(|&b| b <= 1) => Self::Bool(each(bytes, |[b]| b == 1)),
            10 => Self::U64(each(bytes, u64::from_le_bytes)),
            11 => Self::I64(each(bytes, i64::from_le_bytes)),
            12 => Self::F64(each(bytes, f64::from_le_bytes)),
            _ => return None,
        })
    }
}

/// Bytes of one value of a type of fixed size.
pub(super) fn size(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}
