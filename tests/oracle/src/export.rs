//! Rewrites a GGUF file with every tensor as F32, by ggml's own dequantisation.
#![allow(unsafe_code)]

use anyhow::{Context as _, Result, ensure};
use core::ffi::CStr;
use core::ptr;
use llama_cpp_sys_2 as sys;
use std::ffi::CString;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Writes `input` to `output` with F32 tensors, its metadata kept; returns the bytes written.
pub fn as_f32(input: &Path, output: &Path) -> Result<u64> {
    let source = Gguf::open(input)?;
    let copy = Gguf::with_metadata_of(&source)?;
    let mut from = File::open(input)?;
    let mut to = BufWriter::new(File::create(output)?);
    let header = copy.header();
    to.write_all(&header)?;
    let start = header.len() as u64;
    let mut written = start;
    for id in 0..source.tensors() {
        let tensor = source.tensor(id);
        let floats = tensor
            .read(&mut from)
            .with_context(|| format!("tensor {id} of {}", input.display()))?;
        let offset = start + copy.tensor(id).offset;
        to.write_all(&vec![0; usize::try_from(offset - written)?])?;
        for float in &floats {
            to.write_all(&float.to_le_bytes())?;
        }
        written = offset + 4 * floats.len() as u64;
    }
    let end = written.next_multiple_of(32);
    to.write_all(&vec![0; usize::try_from(end - written)?])?;
    to.flush()?;
    Ok(end)
}

/// A GGUF header in ggml's hands: key-values and tensor descriptions, no data.
struct Gguf {
    header: *mut sys::gguf_context,
    tensors: *mut sys::ggml_context,
}

impl Gguf {
    fn open(path: &Path) -> Result<Self> {
        let name = CString::new(path.to_str().context("the path is not UTF-8")?)?;
        let mut tensors = ptr::null_mut();
        let parameters = sys::gguf_init_params {
            no_alloc: true,
            ctx: &raw mut tensors,
        };
        // SAFETY: `name` ends in a nul and `tensors` outlives the call.
        let header = unsafe { sys::gguf_init_from_file(name.as_ptr(), parameters) };
        ensure!(!header.is_null(), "{}: ggml cannot read it", path.display());
        Ok(Gguf { header, tensors })
    }

    /// The key-values and tensors of `source`, all tensors F32 and the file type saying so.
    fn with_metadata_of(source: &Gguf) -> Result<Self> {
        // SAFETY: the function has no preconditions.
        let header = unsafe { sys::gguf_init_empty() };
        let copy = Gguf {
            header,
            tensors: ptr::null_mut(),
        };
        // SAFETY: both headers are live.
        unsafe { sys::gguf_set_kv(copy.header, source.header) };
        // SAFETY: the header is live and the key ends in a nul; 0 is the file type "all F32".
        unsafe { sys::gguf_set_val_u32(copy.header, c"general.file_type".as_ptr(), 0) };
        for id in 0..source.tensors() {
            let name = source.name(id);
            // SAFETY: the context is live and `name` ends in a nul.
            let tensor = unsafe { sys::ggml_get_tensor(source.tensors, name.as_ptr()) };
            ensure!(!tensor.is_null(), "tensor {name:?} is described twice");
            // SAFETY: `tensor` belongs to the live context of `source`.
            unsafe { sys::gguf_add_tensor(copy.header, tensor) };
            // SAFETY: a tensor of this name was just added, and F32 has blocks of one.
            unsafe { sys::gguf_set_tensor_type(copy.header, name.as_ptr(), sys::GGML_TYPE_F32) };
        }
        Ok(copy)
    }

    fn tensors(&self) -> i64 {
        // SAFETY: the header is live.
        unsafe { sys::gguf_get_n_tensors(self.header) }
    }

    fn name(&self, id: i64) -> &CStr {
        // SAFETY: `id` is below the number of tensors.
        let name = unsafe { sys::gguf_get_tensor_name(self.header, id) };
        // SAFETY: names end in a nul and live as long as the header.
        unsafe { CStr::from_ptr(name) }
    }

    /// Where the bytes of a tensor are, and what they are.
    fn tensor(&self, id: i64) -> Tensor {
        // SAFETY: `id` is below the number of tensors.
        let offset = unsafe { sys::gguf_get_tensor_offset(self.header, id) };
        // SAFETY: the header is live.
        let start = unsafe { sys::gguf_get_data_offset(self.header) };
        // SAFETY: `id` is below the number of tensors.
        let kind = unsafe { sys::gguf_get_tensor_type(self.header, id) };
        // SAFETY: `id` is below the number of tensors.
        let bytes = unsafe { sys::gguf_get_tensor_size(self.header, id) };
        Tensor {
            start: start as u64,
            offset: offset as u64,
            bytes,
            kind,
        }
    }

    /// The bytes before the first tensor's.
    fn header(&self) -> Vec<u8> {
        // SAFETY: the header is live.
        let mut bytes = vec![0; unsafe { sys::gguf_get_meta_size(self.header) }];
        // SAFETY: `bytes` has the length that was asked for.
        unsafe { sys::gguf_get_meta_data(self.header, bytes.as_mut_ptr().cast()) };
        bytes
    }
}

impl Drop for Gguf {
    fn drop(&mut self) {
        // SAFETY: the header is freed once, here.
        unsafe { sys::gguf_free(self.header) };
        // SAFETY: the context is freed once, here; a null context is allowed.
        unsafe { sys::ggml_free(self.tensors) };
    }
}

struct Tensor {
    start: u64,
    offset: u64,
    bytes: usize,
    kind: sys::ggml_type,
}

impl Tensor {
    /// The tensor's values.
    fn read(&self, file: &mut File) -> Result<Vec<f32>> {
        file.seek(SeekFrom::Start(self.start + self.offset))?;
        let mut bytes = vec![0; self.bytes];
        file.read_exact(&mut bytes)?;
        if self.kind == sys::GGML_TYPE_F32 {
            let words = bytes.as_chunks::<4>().0;
            return Ok(words.iter().map(|&word| f32::from_le_bytes(word)).collect());
        }
        // SAFETY: the type came from a header that ggml accepted.
        let traits = unsafe { sys::ggml_get_type_traits(self.kind).as_ref() };
        let traits = traits.context("ggml does not know the type")?;
        let dequantise = traits.to_float.context("the type has no values")?;
        let mut floats =
            vec![0f32; self.bytes / traits.type_size * usize::try_from(traits.blck_size)?];
        let count = i64::try_from(floats.len())?;
        // SAFETY: `bytes` holds exactly the blocks of `count` values, and `floats` has room for them.
        unsafe { dequantise(bytes.as_ptr().cast(), floats.as_mut_ptr(), count) };
        Ok(floats)
    }
}
