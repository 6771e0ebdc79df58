//! The known name that a misspelt one most resembles.

/// The name of `known` closest to `wanted`, if any is close enough to have been meant.
pub(crate) fn nearest<'a>(
    wanted: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    const CLOSE_ENOUGH: f64 = 0.7;
    // Two letters that changed places are one slip; in a short word they leave little likeness.
    let one_slip = |name| strsim::osa_distance(wanted, name) == 1;
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(wanted, name), name))
        .filter(|(likeness, name)| *likeness > CLOSE_ENOUGH || one_slip(name))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_finds_its_name_and_noise_finds_none() {
        let known = ["smollm2-135m", "gemma3-270m"];
        assert_eq!(nearest("smollm-135m", known), Some("smollm2-135m"));
        assert_eq!(nearest("gema3", known), Some("gemma3-270m"));
        assert_eq!(nearest("zzz", known), None);
        assert_eq!(nearest("rnu", ["chat", "run"]), Some("run"));
    }
}
