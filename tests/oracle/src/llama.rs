//! llama.cpp as a [`Source`]: a loaded model, and contexts over it.

use crate::Source;
use anyhow::{Context as _, Result, ensure};
use core::cell::RefCell;
use core::num::NonZeroU32;
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::{KvCacheType, LlamaContextParams};
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::model::{LlamaLoraAdapter, LlamaModel};
use llama_cpp_2::token::LlamaToken;
use llama_cpp_sys_2::{LLAMA_FLASH_ATTN_TYPE_DISABLED, LLAMA_FLASH_ATTN_TYPE_ENABLED};
use std::path::Path;
use std::sync::OnceLock;

/// How a context computes.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The most tokens of a sequence.
    pub context: u32,
    /// The type that keys and values are stored in.
    pub kv: Kv,
    /// Whether attention is llama.cpp's fused kernel.
    pub flash: bool,
    /// Threads that compute.
    pub threads: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            context: 512,
            kv: Kv::F16,
            flash: false,
            threads: 2,
        }
    }
}

/// The types of stored keys and values that are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kv {
    /// Single precision.
    F32,
    /// Half precision, llama.cpp's default.
    F16,
    /// 8-bit blocks of 32.
    Q8,
}

/// A model that llama.cpp has loaded.
pub struct Model {
    model: LlamaModel,
    adapter: RefCell<Option<LlamaLoraAdapter>>,
}

impl Model {
    /// Loads a GGUF file, without its weights where `vocabulary_only`.
    pub fn load(path: &Path, vocabulary_only: bool) -> Result<Self> {
        ensure!(path.is_file(), "{}: no such file", path.display());
        let parameters = LlamaModelParams::default().with_vocab_only(vocabulary_only);
        let model = LlamaModel::load_from_file(backend(), path, &parameters)
            .with_context(|| format!("{}: llama.cpp cannot load it", path.display()))?;
        Ok(Model {
            model,
            adapter: RefCell::default(),
        })
    }

    /// Adds the adapter of a GGUF file to every sequence that is started from now on.
    pub fn adapt(&mut self, path: &Path) -> Result<()> {
        ensure!(path.is_file(), "{}: no such file", path.display());
        let adapter = self.model.lora_adapter_init(path);
        let adapter =
            adapter.with_context(|| format!("{}: llama.cpp cannot load it", path.display()))?;
        self.adapter = RefCell::new(Some(adapter));
        Ok(())
    }

    /// The ids of `text`, with the model's own first token; special tokens are parsed where `special`.
    pub fn tokenize(&self, text: &str, special: bool) -> Vec<u32> {
        self.tokenize_as(text, true, special)
    }

    /// The ids of `text`, with or without the model's own first and last tokens.
    pub fn tokenize_as(&self, text: &str, ends: bool, special: bool) -> Vec<u32> {
        let tokens = self.model.vocab().tokenize(text.as_bytes(), ends, special);
        tokens
            .into_iter()
            .map(|token| token.0.unsigned_abs())
            .collect()
    }

    /// The bytes that `tokens` stand for, special tokens included.
    pub fn detokenize(&self, tokens: &[u32]) -> Result<Vec<u8>> {
        Ok(self.model.vocab().detokenize(&native(tokens)?, false, true))
    }

    /// The token every sequence starts with, if the model has one.
    pub fn first_token(&self) -> Option<u32> {
        let vocabulary = self.model.vocab();
        vocabulary
            .should_add_bos()
            .then(|| vocabulary.bos().0.unsigned_abs())
    }

    /// Whether generation stops at `token`.
    pub fn ends(&self, token: u32) -> Result<bool> {
        Ok(self
            .model
            .vocab()
            .is_eog(LlamaToken::new(i32::try_from(token)?)))
    }

    /// An empty sequence.
    pub fn start(&self, settings: Settings) -> Result<Llama<'_>> {
        let kv = match settings.kv {
            Kv::F32 => KvCacheType::F32,
            Kv::F16 => KvCacheType::F16,
            Kv::Q8 => KvCacheType::Q8_0,
        };
        let flash = match settings.flash {
            true => LLAMA_FLASH_ATTN_TYPE_ENABLED,
            false => LLAMA_FLASH_ATTN_TYPE_DISABLED,
        };
        let threads = i32::try_from(settings.threads)?;
        let parameters = LlamaContextParams::default()
            .with_n_ctx(NonZeroU32::new(settings.context))
            .with_n_batch(settings.context)
            .with_n_ubatch(settings.context.min(512))
            .with_type_k(kv)
            .with_type_v(kv)
            .with_flash_attention_policy(flash)
            .with_n_threads(threads)
            .with_n_threads_batch(threads)
            .with_no_perf(true);
        let mut context = self.model.new_context(backend(), parameters)?;
        if let Some(adapter) = &mut *self.adapter.borrow_mut() {
            context.lora_adapter_set(adapter, 1.0)?;
        }
        let vocabulary = usize::try_from(self.model.n_vocab())?;
        let batch = LlamaBatch::new(usize::try_from(settings.context)?, 1);
        Ok(Llama {
            context,
            batch,
            vocabulary,
            position: 0,
            logits: Vec::new(),
        })
    }
}

/// One sequence that llama.cpp computes.
pub struct Llama<'model> {
    context: LlamaContext<'model>,
    batch: LlamaBatch<'static>,
    vocabulary: usize,
    position: i32,
    logits: Vec<f32>,
}

impl Source for Llama<'_> {
    fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    fn restart(&mut self) -> Result<()> {
        self.context.clear_kv_cache();
        self.position = 0;
        Ok(())
    }

    fn feed(&mut self, tokens: &[u32]) -> Result<&[f32]> {
        self.batch.clear();
        for (token, position) in native(tokens)?.into_iter().zip(self.position..) {
            self.batch.add(token, position, &[0], true)?;
        }
        self.context.decode(&mut self.batch)?;
        let rows = i32::try_from(tokens.len())?;
        self.position += rows;
        self.logits.clear();
        for row in 0..rows {
            self.logits
                .extend_from_slice(self.context.get_logits_ith(row));
        }
        Ok(&self.logits)
    }
}

fn native(tokens: &[u32]) -> Result<Vec<LlamaToken>> {
    tokens
        .iter()
        .map(|&token| Ok(LlamaToken::new(i32::try_from(token)?)))
        .collect()
}

/// llama.cpp's global state, silent and made once.
fn backend() -> &'static LlamaBackend {
    static BACKEND: OnceLock<LlamaBackend> = OnceLock::new();
    BACKEND.get_or_init(|| {
        let mut backend = LlamaBackend::init().expect("nobody else has initialised llama.cpp");
        if std::env::var_os("ORACLE_LOG").is_none() {
            backend.void_logs();
        }
        backend
    })
}
