//! llama.cpp as an [`Engine`]: its fastest settings, as its own `llama-bench` has them, flash attention on.
#![allow(unsafe_code)]

use anyhow::{Context as _, Result, ensure};
use core::ffi::{CStr, c_char, c_void};
use core::ptr;
use inkstone_benches::protocol::{Open, Text};
use inkstone_benches::serve::Engine;
use inkstone_benches::token;
use inkstone_oracle::llama::{Kv, Model, Settings};
use inkstone_oracle::perplexity::perplexity;
use llama_cpp_sys_2 as sys;
use std::ffi::CString;
use std::fs;
use std::path::Path;

/// Tokens that llama.cpp runs at once; its default.
const UBATCH: u32 = 512;

/// Tokens of a chunk of a scored text.
const CHUNK: u32 = 512;

/// A model, a context over it and the threads that compute.
pub(crate) struct Llama {
    model: *mut sys::llama_model,
    context: *mut sys::llama_context,
    pool: *mut sys::ggml_threadpool,
    batch: sys::llama_batch,
    /// Tokens that the batch has room for.
    room: u32,
    vocabulary: u32,
}

unsafe extern "C" {
    // Of `ggml-cpu.h`, which the bindings leave out.
    fn ggml_threadpool_new(
        parameters: *mut sys::ggml_threadpool_params,
    ) -> *mut sys::ggml_threadpool;
    fn ggml_threadpool_free(pool: *mut sys::ggml_threadpool);
}

/// llama.cpp says nothing unless `PEER_LOG` is set.
pub(crate) fn quiet() {
    unsafe extern "C" fn nothing(_: sys::ggml_log_level, _: *const c_char, _: *mut c_void) {}
    if std::env::var_os("PEER_LOG").is_none() {
        // SAFETY: the function reads nothing that it is given.
        unsafe { sys::llama_log_set(Some(nothing), ptr::null_mut()) };
    }
    // SAFETY: it is called once, first.
    unsafe { sys::llama_backend_init() };
}

impl Engine for Llama {
    fn open(open: &Open) -> Result<Llama> {
        let model = load(&open.path)?;
        let context = start(model, open)?;
        let threads = i32::try_from(open.threads)?;
        // SAFETY: the function has no preconditions.
        let mut parameters = unsafe { sys::ggml_threadpool_params_default(threads) };
        // SAFETY: the parameters outlive the call.
        let pool = unsafe { ggml_threadpool_new(&raw mut parameters) };
        ensure!(!pool.is_null(), "llama.cpp gets no threads");
        // SAFETY: the context is live, and the pool lives until the context is freed.
        unsafe { sys::llama_attach_threadpool(context, pool, pool) };
        // SAFETY: the model is live.
        let vocabulary = unsafe { sys::llama_model_get_vocab(model) };
        // SAFETY: the vocabulary is that of a live model.
        let vocabulary = unsafe { sys::llama_vocab_n_tokens(vocabulary) };
        // SAFETY: the function has no preconditions; the batch is freed with the rest.
        let batch = unsafe { sys::llama_batch_init(i32::try_from(open.context)?, 0, 1) };
        Ok(Llama {
            model,
            context,
            pool,
            batch,
            room: open.context,
            vocabulary: u32::try_from(vocabulary)?,
        })
    }

    fn build(&self) -> String {
        // SAFETY: llama.cpp keeps the text until it is asked again.
        let info = unsafe { CStr::from_ptr(sys::llama_print_system_info()) };
        info.to_string_lossy().into_owned()
    }

    fn rewind(&mut self, to: u32) -> Result<()> {
        // SAFETY: the context is live.
        let memory = unsafe { sys::llama_get_memory(self.context) };
        // SAFETY: the memory is that of a live context; -1 means the end.
        let done = unsafe { sys::llama_memory_seq_rm(memory, 0, i32::try_from(to)?, -1) };
        ensure!(done, "llama.cpp cannot go back to position {to}");
        Ok(())
    }

    fn run(&mut self, from: u32, count: u32) -> Result<()> {
        ensure!(count <= self.room, "{count} tokens are more than a batch");
        for index in 0..count {
            self.put(index, from + index, index + 1 == count)?;
        }
        self.batch.n_tokens = i32::try_from(count)?;
        // SAFETY: the context is live, and the batch has `n_tokens` tokens.
        let result = unsafe { sys::llama_decode(self.context, self.batch) };
        ensure!(result == 0, "llama.cpp cannot run {count} tokens: {result}");
        // SAFETY: the context is live; -1 is the last row.
        let logits = unsafe { sys::llama_get_logits_ith(self.context, -1) };
        // SAFETY: the row has as many logits as the vocabulary tokens, or is null.
        let first = unsafe { logits.as_ref() }.context("llama.cpp gives no logits")?;
        ensure!(first.is_finite(), "llama.cpp's logits are not finite");
        Ok(())
    }

    fn perplexity(text: &Text) -> Result<(f64, u32)> {
        let model = Model::load(&text.model, false)?;
        let settings = Settings {
            context: CHUNK,
            kv: Kv::F16,
            flash: true,
            threads: text.threads,
        };
        let mut sequence = model.start(settings)?;
        let words = fs::read_to_string(&text.text)?;
        let tokens = model.tokenize(&words, false);
        let (chunks, first) = (text.chunks as usize, model.first_token());
        let result = perplexity(&mut sequence, &tokens, CHUNK as usize, chunks, first)?;
        Ok((result.perplexity, u32::try_from(result.chunks)?))
    }
}

impl Llama {
    /// Writes token `index` of the batch.
    fn put(&mut self, index: u32, position: u32, wanted: bool) -> Result<()> {
        let (at, batch) = (index as usize, &self.batch);
        let id = i32::try_from(token(position, self.vocabulary))?;
        // SAFETY: `run` has checked that the batch has room for this token.
        unsafe { batch.token.add(at).write(id) };
        // SAFETY: as above.
        unsafe { batch.pos.add(at).write(i32::try_from(position)?) };
        // SAFETY: as above.
        unsafe { batch.n_seq_id.add(at).write(1) };
        // SAFETY: as above.
        let sequences = unsafe { batch.seq_id.add(at).read() };
        // SAFETY: a batch made for one sequence has room for one number here.
        unsafe { sequences.write(0) };
        // SAFETY: as above.
        unsafe { batch.logits.add(at).write(i8::from(wanted)) };
        Ok(())
    }
}

impl Drop for Llama {
    fn drop(&mut self) {
        // SAFETY: each is freed once, here; the context goes before what it uses.
        unsafe { sys::llama_free(self.context) };
        // SAFETY: as above.
        unsafe { ggml_threadpool_free(self.pool) };
        // SAFETY: as above.
        unsafe { sys::llama_batch_free(self.batch) };
        // SAFETY: as above.
        unsafe { sys::llama_model_free(self.model) };
    }
}

fn load(path: &Path) -> Result<*mut sys::llama_model> {
    ensure!(path.is_file(), "{}: no such file", path.display());
    let name = CString::new(path.to_str().context("the path is not UTF-8")?)?;
    // SAFETY: the function has no preconditions.
    let parameters = unsafe { sys::llama_model_default_params() };
    // SAFETY: the name ends in a nul.
    let model = unsafe { sys::llama_model_load_from_file(name.as_ptr(), parameters) };
    ensure!(
        !model.is_null(),
        "{}: llama.cpp cannot load it",
        path.display()
    );
    Ok(model)
}

fn start(model: *mut sys::llama_model, open: &Open) -> Result<*mut sys::llama_context> {
    // SAFETY: the function has no preconditions.
    let mut parameters = unsafe { sys::llama_context_default_params() };
    let threads = i32::try_from(open.threads)?;
    parameters.n_ctx = open.context;
    parameters.n_batch = open.context;
    parameters.n_ubatch = open.context.min(UBATCH);
    parameters.n_threads = threads;
    parameters.n_threads_batch = threads;
    parameters.flash_attn_type = sys::LLAMA_FLASH_ATTN_TYPE_ENABLED;
    parameters.type_k = sys::GGML_TYPE_F16;
    parameters.type_v = sys::GGML_TYPE_F16;
    parameters.no_perf = true;
    // SAFETY: the model is live.
    let context = unsafe { sys::llama_init_from_model(model, parameters) };
    ensure!(!context.is_null(), "llama.cpp cannot start a context");
    Ok(context)
}
