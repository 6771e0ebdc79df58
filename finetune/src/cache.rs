//! Samples that were made before: kept by what they were made of, so that a corpus is tokenised once.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use inkstone_engine::Model;
use inkstone_format::SectionKind;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::adapter::replace;
use crate::data;
use crate::pack::Sample;
use crate::sample::{Counts, Sampler};

/// Changes where samples of the same files would become others.
const VERSION: &str = "2";

/// Bytes of all files together, at most: those that were not used for longest go.
const ROOM: u64 = 2 << 30;

/// A folder of samples, each file named by what it was made of.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The cache in `folder`, which is made when something is kept.
    #[must_use]
    pub fn new(folder: PathBuf) -> Cache {
        Cache { folder }
    }

    /// The samples of a file's examples, of at most `length` tokens each, and what happened on their way.
    ///
    /// # Errors
    /// As [`data::read`] and [`Sampler::samples`]. A cache that cannot be read or written costs time and nothing else.
    pub fn samples(
        &self,
        model: &Model,
        file: &Path,
        length: usize,
    ) -> Result<(Vec<Sample>, Counts)> {
        let key = key(model, file, length)?;
        let path = self.folder.join(format!("{key}.safetensors"));
        if let Ok(kept) = read(&path) {
            // So that it is known when it was used.
            let _ = fs::File::open(&path).map(|file| file.set_modified(SystemTime::now()));
            return Ok(kept);
        }
        let examples = data::read(file)?;
        let mut sampler = Sampler::new(model, length)?;
        let samples = sampler.samples(&examples);
        let made = (
            samples.with_context(|| file.display().to_string())?,
            sampler.counts,
        );
        if fs::create_dir_all(&self.folder).is_ok() && write(&path, &made).is_ok() {
            self.make_room(ROOM);
        }
        Ok(made)
    }

    /// Removes what was not used for longest until the rest fits.
    fn make_room(&self, room: u64) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
            .filter_map(|entry| {
                let about = entry.metadata().ok()?;
                Some((about.modified().ok()?, about.len(), entry.path()))
            })
            .collect();
        files.sort();
        let mut all: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in files {
            if all <= room {
                return;
            }
            all -= bytes;
            let _ = fs::remove_file(path);
        }
    }
}

/// Names what samples are made of: the file, how it is read, the tokenizer, the template, what ends an answer, the length.
fn key(model: &Model, file: &Path, length: usize) -> Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(VERSION.as_bytes());
    part(&(length as u64).to_le_bytes());
    let kinds = [
        SectionKind::Tokenizer,
        SectionKind::Template,
        SectionKind::Stops,
    ];
    for kind in kinds {
        part(model.file().section(kind).unwrap_or_default());
    }
    part(file.extension().unwrap_or_default().as_encoded_bytes());
    // A file that is not there is told of by who reads it.
    part(&fs::read(file).unwrap_or_default());
    Ok(hasher.finalize())
}

type Made = (Vec<Sample>, Counts);

fn write(path: &Path, (samples, counts): &Made) -> Result<()> {
    let words = |numbers: &mut dyn Iterator<Item = u32>| -> Vec<u8> {
        numbers.flat_map(u32::to_le_bytes).collect()
    };
    let lengths = words(&mut samples.iter().map(|s| s.tokens.len() as u32));
    let tokens = words(&mut samples.iter().flat_map(|s| s.tokens.iter().copied()));
    let learnt = samples.iter().flat_map(|s| &s.learnt);
    let learnt: Vec<u8> = learnt.map(|learnt| u8::from(*learnt)).collect();
    let (rows, all) = (samples.len(), learnt.len());
    let views = [
        (
            "lengths",
            TensorView::new(Dtype::U32, vec![rows], &lengths)?,
        ),
        ("tokens", TensorView::new(Dtype::U32, vec![all], &tokens)?),
        ("learnt", TensorView::new(Dtype::U8, vec![all], &learnt)?),
    ];
    let about = HashMap::from([
        ("counts".to_owned(), serde_json::to_string(counts)?),
        ("hash".to_owned(), hash([&lengths, &tokens, &learnt])),
    ]);
    replace(path, &safetensors::serialize(views, Some(about))?)
}

fn read(path: &Path) -> Result<Made> {
    let bytes = fs::read(path)?;
    let (_, about) = SafeTensors::read_metadata(&bytes)?;
    let about = about.metadata().clone().unwrap_or_default();
    let tensors = SafeTensors::deserialize(&bytes)?;
    let of = |name: &str| Ok::<_, anyhow::Error>(tensors.tensor(name)?.data());
    let (lengths, tokens, learnt) = (of("lengths")?, of("tokens")?, of("learnt")?);
    ensure!(
        about.get("hash") == Some(&hash([lengths, tokens, learnt])),
        "not what was written"
    );
    let words = |bytes: &[u8]| -> Vec<u32> {
        let words = bytes.as_chunks::<4>().0.iter();
        words.map(|word| u32::from_le_bytes(*word)).collect()
    };
    let (tokens, mut start) = (words(tokens), 0);
    let mut samples = Vec::new();
    for length in words(lengths) {
        let place = start..start + length as usize;
        let (Some(tokens), Some(learnt)) = (tokens.get(place.clone()), learnt.get(place.clone()))
        else {
            anyhow::bail!("lengths that do not fit");
        };
        samples.push(Sample {
            tokens: tokens.to_vec(),
            learnt: learnt.iter().map(|learnt| *learnt != 0).collect(),
        });
        start = place.end;
    }
    let counts = about.get("counts").context("no counts")?;
    Ok((samples, serde_json::from_str(counts)?))
}

fn hash(parts: [&[u8]; 3]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn made() -> Made {
        let sample = |tokens: &[u32]| Sample {
            tokens: tokens.to_vec(),
            learnt: tokens.iter().map(|token| token % 2 == 0).collect(),
        };
        let counts = Counts {
            examples: 3,
            cut: 1,
            ..Counts::default()
        };
        (
            vec![sample(&[1, 2, 3]), sample(&[]), sample(&[70_000])],
            counts,
        )
    }

    #[test]
    fn what_is_kept_is_read_and_what_is_damaged_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write(&path, &made()).unwrap();
        assert_eq!(read(&path).unwrap(), made());
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            // In the header a bit may be of no meaning.
            assert!(read(&path).map_or(true, |kept| kept.0 == made().0), "{at}");
        }
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(read(&path).is_err());
    }

    #[test]
    fn what_was_not_used_for_longest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().to_path_buf());
        for (name, age) in [("old", 30), ("new", 10), ("older", 50)] {
            let path = folder.path().join(name);
            fs::write(&path, [0; 100]).unwrap();
            let then = SystemTime::now() - core::time::Duration::from_secs(age);
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(then).unwrap();
        }
        cache.make_room(150);
        let left: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(left, ["new"]);
    }
}
