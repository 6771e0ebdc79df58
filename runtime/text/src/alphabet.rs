//! The alphabet of byte-level vocabularies: each byte is written as a printable character.
//!
//! Bytes that print in Latin-1 are themselves; the others follow in order from U+0100
//! (`bytes_to_unicode` of GPT-2's `encoder.py`).

use alloc::vec::Vec;

/// The character that stands for `byte`.
#[must_use]
pub fn character(byte: u8) -> char {
    let shifted = match byte {
        0..=0x20 => Some(u32::from(byte)),
        0x7f..=0xa0 => Some(u32::from(byte) - 0x7f + 0x21),
        0xad => Some(0x43),
        _ => None,
    };
    shifted
        .and_then(|offset| char::from_u32(0x100 + offset))
        .unwrap_or(char::from(byte))
}

/// The byte that `character` stands for.
#[must_use]
pub fn byte(character: char) -> Option<u8> {
    let code = u32::from(character);
    match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => u8::try_from(code).ok(),
        0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        0x121..=0x142 => u8::try_from(code - 0x121 + 0x7f).ok(),
        0x143 => Some(0xad),
        _ => None,
    }
}

/// The bytes that `text` stands for, if all its characters are of the alphabet.
#[must_use]
pub fn bytes(text: &str) -> Option<Vec<u8>> {
    text.chars().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_has_one_printable_character() {
        for value in 0..=255 {
            let written = character(value);
            assert_eq!(byte(written), Some(value));
            assert!(!written.is_whitespace() && !written.is_control());
        }
        assert_eq!(character(b' '), 'Ġ');
        assert_eq!(character(b'\n'), 'Ċ');
    }
}
