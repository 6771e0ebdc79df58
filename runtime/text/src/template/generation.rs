//! `{% generation %}` blocks, which mark the assistant's tokens for training: text-wise they are nothing.

use alloc::borrow::Cow;
use alloc::string::String;

/// The two tags and what they become; the engine knows no tags of ours.
const TAGS: [(&str, &str); 2] = [("generation", "if true"), ("endgeneration", "endif")];

/// `source` with every generation block turned into a condition that always holds.
pub(super) fn as_conditions(source: &str) -> Cow<'_, str> {
    if !source.contains("generation") {
        return Cow::Borrowed(source);
    }
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        out.push_str(before);
        rest = tag;
        let Some(end) = tag.find("%}") else { break };
        let inside = &tag[..end];
        let name = inside.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        if let Some((_, condition)) = TAGS.iter().find(|(tag, _)| *tag == name) {
            out.push_str(&inside.replacen(name, condition, 1));
            rest = &tag[end..];
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::as_conditions;

    #[test]
    fn only_the_tags_change_and_keep_their_whitespace_control() {
        let source = "a {%- generation -%} x {% endgeneration %}{% if add_generation_prompt %}{{ generation }}{% endif %}{% generation";
        let expected = "a {%- if true -%} x {% endif %}{% if add_generation_prompt %}{{ generation }}{% endif %}{% generation";
        assert_eq!(as_conditions(source), expected);
        assert_eq!(as_conditions("{% if x %}"), "{% if x %}");
    }
}
