//! The classes of characters that pre-tokenizers tell apart.

#[cfg(feature = "unicode")]
#[path = "unicode/tables.rs"]
mod tables;
#[cfg(not(feature = "unicode"))]
#[path = "unicode/absent.rs"]
mod tables;

pub(crate) use tables::{PRESENT, nfc};

/// What a character is to a pre-tokenizer, after its Unicode general category.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "unicode"), allow(dead_code))]
pub(crate) enum Class {
    /// `\p{Lu}`, `\p{Ll}` and `\p{Lt}`.
    Cased,
    /// `\p{Lm}` and `\p{Lo}`.
    Letter,
    /// `\p{M}`
    Mark,
    /// `\p{N}`
    Number,
    /// `\p{P}`
    Punctuation,
    /// `\s`
    Space,
    /// Everything else.
    Other,
}

static ASCII: [Class; 128] = ascii();

/// The class of `character`.
pub(crate) fn class(character: char) -> Class {
    if let Some(&class) = ASCII.get(character as usize) {
        return class;
    }
    if character.is_whitespace() {
        return Class::Space;
    }
    tables::class(character)
}

pub(crate) fn is_letter(character: char) -> bool {
    matches!(class(character), Class::Cased | Class::Letter)
}

pub(crate) fn is_number(character: char) -> bool {
    class(character) == Class::Number
}

pub(crate) fn is_space(character: char) -> bool {
    class(character) == Class::Space
}

pub(crate) fn is_punctuation(character: char) -> bool {
    class(character) == Class::Punctuation
}

const fn ascii() -> [Class; 128] {
    let mut table = [Class::Other; 128];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = match byte as u8 {
            b'A'..=b'Z' | b'a'..=b'z' => Class::Cased,
            b'0'..=b'9' => Class::Number,
            b'\t'..=b'\r' | b' ' => Class::Space,
            b'$' | b'+' | b'<' | b'=' | b'>' | b'^' | b'`' | b'|' | b'~' => Class::Other,
            b'!'..=b'/' | b':'..=b'@' | b'['..=b'`' | b'{'..=b'~' => Class::Punctuation,
            _ => Class::Other,
        };
        byte += 1;
    }
    table
}

#[cfg(all(test, feature = "unicode"))]
mod tests {
    use super::*;

    #[test]
    fn the_ascii_table_says_what_the_categories_say() {
        for byte in 0..128_u8 {
            let character = char::from(byte);
            let category = unicode_general_category::get_general_category(character).abbreviation();
            let expected = match category.as_bytes()[0] {
                _ if character.is_whitespace() => Class::Space,
                b'L' => Class::Cased,
                b'N' => Class::Number,
                b'P' => Class::Punctuation,
                _ => Class::Other,
            };
            assert_eq!(class(character), expected, "{character:?} is {category}");
        }
    }
}
