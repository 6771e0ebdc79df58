//! Adapters as llama.cpp reads them: a GGUF file of type `adapter`, its matrices named and turned as those of the base.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use inkstone_converter::arch::{Arch, Pairing, Qkv, by_gguf_id};
use inkstone_converter::gguf::Gguf;
use inkstone_converter::rewrite;
use inkstone_format::records::{Pattern, Rewrite};
use inkstone_model::weights::{DOWN, GATE, K, O, Q, UP, V};

use crate::adapter::{Loaded, Thin, replace};

/// Bytes that data is aligned to.
const ALIGNMENT: usize = 32;
/// GGUF's numbers of its types of values.
const FLOAT32: u32 = 6;
const STRING: u32 = 8;

/// Writes the adapter in a PEFT folder for the GGUF file `base`.
///
/// # Errors
/// The base is of an architecture that is not known, or the adapter does not fit it.
pub fn export(folder: &Path, base: &Path, to: &Path) -> Result<()> {
    let adapter = Loaded::open(folder)?;
    let base = Base::open(base)?;
    let mut tensors = Vec::new();
    for ((layer, role), thin) in &adapter.pairs {
        let name = base.name(*layer, *role)?;
        base.check(&name, thin)?;
        let b = base.turned(*role, thin)?;
        tensors.push((
            format!("{name}.lora_a"),
            [thin.inputs, thin.rank],
            thin.a.clone(),
        ));
        tensors.push((format!("{name}.lora_b"), [thin.rank, thin.rows], b));
    }
    replace(to, &file(&base.id, adapter.config.lora_alpha, &tensors))
}

/// What an adapter is for.
struct Base {
    gguf: Gguf,
    id: String,
    arch: &'static Arch,
}

impl Base {
    fn open(path: &Path) -> Result<Base> {
        let gguf = Gguf::open(path)?;
        let named = || path.display().to_string();
        let id = gguf.get("general.architecture").and_then(|id| id.as_str());
        let id = id
            .with_context(|| format!("{}: names no architecture", named()))?
            .to_owned();
        let arch = by_gguf_id(&id)
            .with_context(|| format!("{}: the architecture `{id}` is not known", named()))?;
        Ok(Base { gguf, id, arch })
    }

    /// What the base calls a matrix.
    fn name(&self, layer: u16, role: u16) -> Result<String> {
        let names = &self.arch.gguf;
        let Qkv::Apart([q, k, v]) = names.qkv else {
            bail!("queries, keys and values of `{}` are one matrix", self.id);
        };
        let [gate, up, down] = names.ffn;
        let table = [
            (Q, q),
            (K, k),
            (V, v),
            (O, names.o),
            (GATE, gate),
            (UP, up),
            (DOWN, down),
        ];
        let stem = table.iter().find(|(known, _)| *known == role);
        let (_, stem) = stem.with_context(|| format!("matrices of role {role} have no name"))?;
        Ok(format!("blk.{layer}.{stem}.weight"))
    }

    /// The base has the matrix, in the shape that the adapter is for.
    fn check(&self, name: &str, thin: &Thin) -> Result<()> {
        let tensor = self
            .gguf
            .tensors()
            .iter()
            .find(|tensor| tensor.name == name);
        let tensor =
            tensor.with_context(|| format!("{}: has no {name}", self.gguf.path().display()))?;
        let wanted = [thin.inputs as u64, thin.rows as u64];
        ensure!(
            tensor.dims == wanted,
            "{name}: the base's is {:?}, the adapter is for {wanted:?}",
            tensor.dims
        );
        Ok(())
    }

    /// `B`, its rows as the base has them: where it turns neighbours, rows of queries and keys are interleaved.
    fn turned(&self, role: u16, thin: &Thin) -> Result<Vec<f32>> {
        let key = match role {
            Q => "head_count",
            K => "head_count_kv",
            _ => return Ok(thin.b.clone()),
        };
        if self.arch.gguf_pairing != Pairing::Neighbours {
            return Ok(thin.b.clone());
        }
        let key = format!("{}.attention.{key}", self.id);
        let heads = self.gguf.get(&key).and_then(|value| value.as_u64());
        let heads = heads.with_context(|| format!("{key} is missing"))?;
        let permute = Rewrite::PermuteRows {
            heads: u32::try_from(heads)?,
            pattern: Pattern::InterleavedToHalves,
        };
        let from = rewrite::apply(&[permute], thin.rows as u64)?.rows;
        let mut b = vec![0.0; thin.b.len()];
        for (row, &source) in thin.b.chunks_exact(thin.rank).zip(&from) {
            b[source as usize * thin.rank..][..thin.rank].copy_from_slice(row);
        }
        Ok(b)
    }
}

/// GGUF v3: header, values, names of tensors with their first dimension first, data.
fn file(arch: &str, alpha: f32, tensors: &[(String, [usize; 2], Vec<f32>)]) -> Vec<u8> {
    let values = [
        ("general.type", text("adapter")),
        ("general.architecture", text(arch)),
        ("adapter.type", text("lora")),
        (
            "adapter.lora.alpha",
            [&FLOAT32.to_le_bytes()[..], &alpha.to_le_bytes()].concat(),
        ),
    ];
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3_u32.to_le_bytes());
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend((values.len() as u64).to_le_bytes());
    for (key, value) in values {
        bytes.extend(string(key));
        bytes.extend(value);
    }
    let mut offset = 0;
    for (name, dimensions, data) in tensors {
        bytes.extend(string(name));
        bytes.extend(2_u32.to_le_bytes());
        dimensions
            .iter()
            .for_each(|n| bytes.extend((*n as u64).to_le_bytes()));
        // The type F32.
        bytes.extend(0_u32.to_le_bytes());
        bytes.extend((offset as u64).to_le_bytes());
        offset += (4 * data.len()).next_multiple_of(ALIGNMENT);
    }
    for (.., data) in tensors {
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        bytes.extend(data.iter().flat_map(|x| x.to_le_bytes()));
    }
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [&STRING.to_le_bytes()[..], &string(text)].concat()
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_a_gguf_file_with_the_matrices_in_it() {
        let tensors = [
            (
                "blk.0.attn_q.weight.lora_a".to_owned(),
                [3, 2],
                vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            ),
            (
                "blk.0.attn_q.weight.lora_b".to_owned(),
                [2, 1],
                vec![7.0, 8.0],
            ),
        ];
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("adapter.gguf");
        replace(&path, &file("llama", 32.0, &tensors)).expect("written");
        let gguf = Gguf::open(&path).expect("a GGUF file");
        let text = |key: &str| gguf.get(key).and_then(|value| value.as_str());
        assert_eq!(text("general.type"), Some("adapter"));
        assert_eq!(text("general.architecture"), Some("llama"));
        assert_eq!(text("adapter.type"), Some("lora"));
        let alpha = gguf
            .get("adapter.lora.alpha")
            .and_then(|value| value.as_f32());
        assert_eq!(alpha, Some(32.0));
        for ((name, dims, data), found) in tensors.iter().zip(gguf.tensors()) {
            assert_eq!(
                (&found.name, found.dims.as_slice()),
                (name, &dims.map(|n| n as u64)[..])
            );
            let mut bytes = Vec::new();
            gguf.read(found, &mut bytes).expect("data");
            let wanted: Vec<u8> = data.iter().flat_map(|x: &f32| x.to_le_bytes()).collect();
            assert_eq!(bytes, wanted);
        }
    }
}
