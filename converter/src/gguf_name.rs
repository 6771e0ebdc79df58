//! What the name of a GGUF file says, where its metadata is silent (the convention: `docs/gguf.md` of ggml).

use std::path::Path;

use ggml_rs::parse_gguf_filename;

/// The name of the model: base, size and fine-tune.
#[must_use]
pub fn model(path: &Path) -> Option<String> {
    let parts = parse_gguf_filename(path.file_name()?.to_str()?)?;
    let parts = [parts.base_name, parts.size_label, parts.fine_tune];
    Some(parts.into_iter().flatten().collect::<Vec<_>>().join("-"))
}

/// Whether the file is one of several that make a model, as `00001-of-00003`.
#[must_use]
pub fn is_shard(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let parts = name.and_then(parse_gguf_filename);
    parts.is_some_and(|parts| parts.shard.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_convention_or_say_nothing() {
        let named = |name: &str| model(Path::new(name));
        let hermes = named("x/Hermes-2-Pro-Llama-3-8B-v1.0-F16.gguf");
        assert_eq!(hermes.as_deref(), Some("Hermes-2-Pro-Llama-3-8B"));
        assert_eq!(named("model.gguf"), None);
        assert!(is_shard(Path::new(
            "Grok-100B-v1.0-Q4_0-00003-of-00009.gguf"
        )));
        assert!(!is_shard(Path::new("Mixtral-8x7B-v0.1-KQ2.gguf")));
    }
}
