//! llama.cpp's own quantiser.
#![allow(unsafe_code)]

use anyhow::{Context as _, Result, ensure};
use llama_cpp_sys_2 as sys;
use std::ffi::CString;
use std::path::Path;

/// Writes a GGUF file with its matrices in a format, whatever they are stored in.
pub(crate) fn quantize(from: &Path, to: &Path, kind: u32) -> Result<()> {
    let [from, to] = [from, to].map(|path| {
        let text = path.to_str().context("the path is not UTF-8")?;
        Ok::<_, anyhow::Error>(CString::new(text)?)
    });
    let (from, to) = (from?, to?);
    // SAFETY: the function has no preconditions.
    let mut parameters = unsafe { sys::llama_model_quantize_default_params() };
    parameters.ftype = kind;
    parameters.allow_requantize = true;
    // SAFETY: both names end in a nul, and the parameters outlive the call.
    let result =
        unsafe { sys::llama_model_quantize(from.as_ptr(), to.as_ptr(), &raw const parameters) };
    ensure!(result == 0, "llama.cpp cannot quantise it");
    Ok(())
}
