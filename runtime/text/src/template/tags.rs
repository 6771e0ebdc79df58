//! Rewrites two kinds of tags before the engine sees them.
//!
//! `{% generation %}` blocks, which mark the assistant's tokens for training, become conditions that hold. The
//! values of `{% set x = … %}` pass through the function of [`bounds`](super::bounds). On the way operators are counted: the
//! engine goes down chains of them by recursion, without a bound of its own.

use alloc::borrow::Cow;
use alloc::string::String;

use super::bounds::{FOR_ATTRIBUTES, FOR_NAMES};

/// Tags that are replaced by others; the engine knows no tags of ours.
const RENAMED: [(&str, &str); 2] = [("generation", "if true"), ("endgeneration", "endif")];

/// Operators of a tag, and alternatives of a template, at most: of ten times as many each overflowed a stack of 2 MB.
const CHAIN_MAX: usize = 500;

/// `source` with its tags rewritten; lines stay where they are. None where a tag chains more than [`CHAIN_MAX`] operators.
pub(super) fn rewrite(source: &str) -> Option<String> {
    let mut out = String::with_capacity(source.len() + source.len() / 8);
    let (mut rest, mut alternatives) = (source, 0);
    while let Some(at) = rest.find('{') {
        let (text, tag) = rest.split_at(at);
        out.push_str(text);
        let length = match tag.as_bytes().get(1) {
            Some(b'#') => tag.find("#}").map_or(tag.len(), |end| end + 2),
            Some(b'{') => {
                let end = inside(&tag[2..], "}}") + 2;
                short_of_chains(&tag[2..end])?;
                end
            }
            Some(b'%') => {
                let end = inside(&tag[2..], "%}") + 2;
                short_of_chains(&tag[2..end])?;
                alternatives += usize::from(name(&tag[2..end]) == "elif");
                if alternatives > CHAIN_MAX {
                    return None;
                }
                out.push_str("{%");
                out.push_str(&statement(&tag[2..end]));
                rest = &tag[end..];
                if name(&tag[2..end]) == "raw" {
                    let raw = end_of_raw(rest);
                    out.push_str(&rest[..raw]);
                    rest = &rest[raw..];
                }
                continue;
            }
            _ => 1,
        };
        out.push_str(&tag[..length]);
        rest = &tag[length..];
    }
    out.push_str(rest);
    Some(out)
}

/// Nothing, unless the inside of a tag chains too many operators.
fn short_of_chains(tag: &str) -> Option<()> {
    const SIGNS: &[u8] = b"+-*/~.[(|%=<>";
    const WORDS: [&str; 6] = ["not", "and", "or", "if", "is", "in"];
    let (bytes, mut at, mut chain) = (tag.as_bytes(), 0, 0);
    while at < bytes.len() {
        let word = bytes[at..]
            .iter()
            .take_while(|b| b.is_ascii_alphanumeric() || **b == b'_');
        let length = match bytes[at] {
            quote @ (b'"' | b'\'') => text_length(&bytes[at..], quote),
            _ => word.count().max(1),
        };
        let part = &bytes[at..bytes.len().min(at + length)];
        let operates = WORDS.iter().any(|word| word.as_bytes() == part)
            || (length == 1 && SIGNS.contains(&part[0]));
        chain += usize::from(operates);
        at += length;
    }
    (chain <= CHAIN_MAX).then_some(())
}

/// How far the inside of a tag goes: to `close` outside of texts and brackets.
fn inside(tag: &str, close: &str) -> usize {
    let bytes = tag.as_bytes();
    let mut open = 0_usize;
    let mut at = 0;
    while at < bytes.len() {
        if open == 0 && bytes[at..].starts_with(close.as_bytes()) {
            return at;
        }
        match bytes[at] {
            quote @ (b'"' | b'\'') => at += text_length(&bytes[at..], quote) - 1,
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// Bytes of the text that begins with `quote`, both quotes counted.
fn text_length(bytes: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn trimmed(tag: &str) -> &str {
    tag.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+')
}

/// The tag's first word.
fn name(tag: &str) -> &str {
    let tag = tag.trim_start_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
    let end = tag
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(tag.len());
    &tag[..end]
}

/// What stands between `{%` and `%}`, rewritten.
fn statement(tag: &str) -> Cow<'_, str> {
    if let Some((name, other)) = RENAMED.iter().find(|(name, _)| *name == trimmed(tag)) {
        return tag.replacen(name, other, 1).into();
    }
    let Some(equals) = (name(tag) == "set")
        .then(|| inside(tag, "="))
        .filter(|&at| at < tag.len())
    else {
        return tag.into();
    };
    let (target, value) = tag.split_at(equals + 1);
    let end = value.len() - usize::from(value.ends_with(['-', '+']));
    let (value, control) = value.split_at(end);
    let function = if target.contains('.') {
        FOR_ATTRIBUTES
    } else {
        FOR_NAMES
    };
    alloc::format!("{target} {function}(({value})){control}").into()
}

/// Bytes up to the end of the raw block.
fn end_of_raw(source: &str) -> usize {
    let mut at = 0;
    while let Some(found) = source[at..].find("{%") {
        at += found + 2;
        if name(&source[at..]) == "endraw" {
            return at;
        }
    }
    source.len()
}

#[cfg(test)]
mod tests {
    use super::rewrite;
    use alloc::borrow::ToOwned;

    #[test]
    fn generation_tags_become_conditions_and_keep_their_whitespace_control() {
        let source = "a {%- generation -%} x {% endgeneration %}{% if add_generation_prompt %}{{ generation }}{% endif %}{% generation";
        let expected = "a {%- if true -%} x {% endif %}{% if add_generation_prompt %}{{ generation }}{% endif %}{% if true";
        assert_eq!(rewrite(source).as_deref(), Some(expected));
    }

    #[test]
    fn chains_of_operators_are_bounded() {
        for (chain, begin, end) in [
            ("+1", "{{ 1", " }}"),
            ("~1", "{% set x = 1", " %}"),
            (".b", "{{ a", " }}"),
            ("not ", "{{ ", "1 }}"),
            (" or 0", "{{ 1", " }}"),
            ("-", "{{ ", "1 }}"),
            ("{% elif 0 %}", "{% if 0 %}", "{% endif %}"),
        ] {
            let of = |count: usize| [begin, &chain.repeat(count), end].concat();
            assert!(rewrite(&of(400)).is_some(), "{chain}");
            assert!(rewrite(&of(600)).is_none(), "{chain}");
        }
        let texts = "{{ ".to_owned() + &"'a+b'".repeat(1000) + " }}";
        assert!(rewrite(&texts).is_some());
    }

    #[test]
    fn values_that_are_stored_are_wrapped() {
        for (source, expected) in [
            (
                "{%- set a.b = 1 -%}",
                "{%- set a.b = __inkstone_attribute(( 1 ))-%}",
            ),
            (
                "{% set x='%} = \\'' ~ {'a': 1} %}y",
                "{% set x= __inkstone_bounded(('%} = \\'' ~ {'a': 1} ))%}y",
            ),
            (
                "{% set a, b = b, a %}",
                "{% set a, b = __inkstone_bounded(( b, a ))%}",
            ),
            (
                "{% set x %}a = b{% endset %}",
                "{% set x %}a = b{% endset %}",
            ),
            (
                "{% settle = 1 %}{% if a == b %}",
                "{% settle = 1 %}{% if a == b %}",
            ),
            (
                "{# {% set a = 1 %} #}{{ '{% set a = 1 %}' }}",
                "{# {% set a = 1 %} #}{{ '{% set a = 1 %}' }}",
            ),
            (
                "{% raw %}{% set a = 1 %}{% endraw %}{",
                "{% raw %}{% set a = 1 %}{% endraw %}{",
            ),
            (
                "{{ {'a': {}} }}{% set é = 1 %}",
                "{{ {'a': {}} }}{% set é = __inkstone_bounded(( 1 ))%}",
            ),
        ] {
            assert_eq!(rewrite(source).as_deref(), Some(expected));
        }
    }
}
