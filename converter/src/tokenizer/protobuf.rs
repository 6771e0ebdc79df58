//! Reads the fields of a protobuf message
//! (<https://protobuf.dev/programming-guides/encoding/>).

use crate::error::{Error, ErrorKind, Result, malformed};

/// The value of one field, as its wire type has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Field<'a> {
    /// A whole number or a boolean.
    Varint(u64),
    /// Four bytes.
    Fixed32(u32),
    /// Eight bytes.
    Fixed64,
    /// Bytes, text or a message.
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    pub(super) fn message(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub(super) fn float(self) -> Option<f32> {
        match self {
            Self::Fixed32(bits) => Some(f32::from_bits(bits)),
            _ => None,
        }
    }

    pub(super) fn whole(self) -> Option<u64> {
        match self {
            Self::Varint(value) => Some(value),
            _ => None,
        }
    }
}

/// The fields of a message: number and value, in the order of the bytes.
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    /// Where `bytes` starts in the file.
    at: u64,
}

impl<'a> Fields<'a> {
    /// The fields of the message `bytes`, which starts at byte `at` of the file.
    pub(super) fn new(bytes: &'a [u8], at: u64) -> Self {
        Self { bytes, at }
    }

    /// The next field with the byte of the file at which its value ends, if one is left.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Field<'a>)>> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let start = self.at;
        let key = self.varint()?;
        let field = match key & 7 {
            0 => Field::Varint(self.varint()?),
            1 => {
                self.take(8)?;
                Field::Fixed64
            }
            2 => {
                let length = self.varint()?;
                Field::Bytes(self.take(length)?)
            }
            5 => {
                let bytes = self.take(4)?;
                let bits = bytes
                    .iter()
                    .rev()
                    .fold(0, |bits, &b| bits << 8 | u32::from(b));
                Field::Fixed32(bits)
            }
            wire => return Err(malformed(format!("wire type {wire} is unknown")).at(start)),
        };
        Ok(Some((key >> 3, field)))
    }

    /// The byte of the file that is read next.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    fn varint(&mut self) -> Result<u64> {
        let start = self.at;
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = u64::from(self.take(1)?[0]);
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(malformed("a number of more than ten bytes").at(start))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8]> {
        let split = usize::try_from(length)
            .ok()
            .and_then(|length| self.bytes.split_at_checked(length));
        let Some((head, tail)) = split else {
            let left = self.bytes.len();
            let message = format!("{length} bytes are announced where {left} are left");
            return Err(Error::new(ErrorKind::Truncated, message).at(self.at));
        };
        self.bytes = tail;
        self.at += length;
        Ok(head)
    }
}
