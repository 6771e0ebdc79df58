//! A session's state as bytes: saved, loaded, copied.
//!
//! Little-endian: a header of 128 bytes, the tokens (u32 each), the caches as the device gives them, and the BLAKE3
//! of all that.
//!
//! | offset | header | type | | offset | header | type |
//! |--:|---|---|---|--:|---|---|
//! | 0 | magic | 8 bytes | | 88 | rewind | u32 |
//! | 8 | version (1) | u32 | | 92 | tokens | u32 |
//! | 12 | whether caches are rings | u32 | | 96 | tokens run | u32 |
//! | 16 | numerics | 8 bytes | | 100 | earliest position to go back to | u32 |
//! | 24 | id of the model | 32 bytes | | 104 | tokens dropped by shifts | u64 |
//! | 56 | device | 16 bytes | | 112 | sampler's mirostat μ | f32 |
//! | 72 | keys and values | u32 | | 116 | zero | 12 bytes |
//! | 76 | activations | u32 | | | | |
//! | 80 | context | u32 | | | | |
//! | 84 | batch | u32 | | | | |

use core::ops::Range;
use std::io::{self, Read, Write};
use std::path::Path;

use inkstone_model::{Activations, Backend, Kv, NUMERICS, SessionError};

use crate::error::{Error, ErrorKind, Result};
use crate::session::Session;

const MAGIC: [u8; 8] = *b"\x89INKSNAP";
const VERSION: u32 = 1;
const HEADER: usize = 128;

/// What must be equal in file and session, and what it says of a file where it is not.
const IDENTITY: &[(Range<usize>, &str)] = &[
    (16..24, "other numerics"),
    (24..56, "another model"),
    (56..72, "another device"),
    (72..76, "another form of keys and values"),
    (76..80, "other activations"),
];

/// What must be equal too where windows are kept in rings.
const RINGS: &[(Range<usize>, &str)] = &[
    (80..84, "another context"),
    (84..88, "another batch"),
    (88..92, "another length to go back"),
];

/// Writes the state. The last token is left to be run again, so that its logits are there after loading.
pub(crate) fn write(session: &mut Session, out: &mut dyn Write) -> Result<()> {
    let mut out = Hashing {
        inner: out,
        hasher: blake3::Hasher::new(),
        error: None,
    };
    let fed = session.core.tokens().len();
    let done = session.core.done().min(fed.saturating_sub(1));
    out.write_all(&header(session, fed, done))?;
    for token in session.core.tokens() {
        out.write_all(&token.to_le_bytes())?;
    }
    let whole = session
        .core
        .backend()
        .save(done as u32, &mut |bytes| out.put(bytes));
    if let (false, error) = (whole, out.error.take()) {
        return Err(error.unwrap_or(io::ErrorKind::Other.into()).into());
    }
    let hash = out.hasher.finalize();
    Ok(out.inner.write_all(hash.as_bytes())?)
}

/// Reads a state that [`write`] wrote.
pub(crate) fn read(session: &mut Session, source: &mut dyn Read) -> Result<()> {
    let mut source = Hashing {
        inner: source,
        hasher: blake3::Hasher::new(),
        error: None,
    };
    let mut found = [0; HEADER];
    source.fill(&mut found)?;
    check(session, &found)?;
    let (fed, done) = (word(&found, 92) as usize, word(&found, 96) as usize);
    read_tokens(session, &mut source, fed)?;
    let mu = f32::from_bits(word(&found, 112));
    let restored = session.restore(done, mu, &mut |bytes| source.take(bytes));
    let finished = restored.and_then(|whole| finish(whole, source));
    if finished.is_err() {
        session.clear();
        return finished;
    }
    session.floor = word(&found, 100) as usize;
    session.dropped = u64::from(word(&found, 104)) | u64::from(word(&found, 108)) << 32;
    Ok(())
}

fn header(session: &Session, fed: usize, done: usize) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    let config = &session.plan.config;
    out[..8].copy_from_slice(&MAGIC);
    out[16..16 + NUMERICS.len()].copy_from_slice(NUMERICS.as_bytes());
    out[24..56].copy_from_slice(&session.model.id());
    let device = session.plan.device.name;
    out[56..56 + device.len()].copy_from_slice(device.as_bytes());
    let earliest = session.core.earliest().max(session.floor).min(done);
    let words = [
        (8, VERSION),
        (12, session.plan.layout.ring.into()),
        (72, kv_number(config.kv)),
        (76, (config.activations == Activations::F32).into()),
        (80, config.context),
        (84, config.batch),
        (88, config.rewind),
        (92, fed as u32),
        (96, done as u32),
        (100, earliest as u32),
        (104, session.dropped as u32),
        (108, (session.dropped >> 32) as u32),
        (112, session.sampler.mirostat_mu().to_bits()),
    ];
    for (at, value) in words {
        out[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    out
}

/// The stored forms' numbers in files.
fn kv_number(kv: Kv) -> u32 {
    match kv {
        Kv::F32 => 0,
        Kv::F16 => 1,
        Kv::Int8 => 2,
        Kv::Int4 => 3,
    }
}

/// Compares a file's header with that of this session's own state.
fn check(session: &Session, found: &[u8; HEADER]) -> Result<()> {
    if found[..8] != MAGIC {
        return Err(Error::text(ErrorKind::Damaged, "not a saved session"));
    }
    if word(found, 8) != VERSION {
        let text = format!(
            "a saved session of version {}, this is {VERSION}; make it again",
            word(found, 8)
        );
        return Err(Error::text(ErrorKind::Unsupported, text));
    }
    let own = header(session, 0, 0);
    let rings = word(found, 12) != 0 || session.plan.layout.ring;
    let fields = IDENTITY.iter().chain(RINGS.iter().filter(|_| rings));
    for (range, what) in fields {
        if found[range.clone()] != own[range.clone()] {
            return Err(Error::text(
                ErrorKind::Mismatch,
                format!("a saved session of {what}"),
            ));
        }
    }
    let (fed, done, earliest) = (word(found, 92), word(found, 96), word(found, 100));
    let (context, wanted) = (session.core.context(), fed as usize);
    if wanted > context {
        return Err(SessionError::ContextFull { context, wanted }.into());
    }
    let sound = word(found, 12) <= 1
        && (done < fed || (done, fed) == (0, 0))
        && earliest <= done
        && f32::from_bits(word(found, 112)).is_finite()
        && found[116..].iter().all(|&byte| byte == 0);
    if sound {
        Ok(())
    } else {
        Err(damaged("its header contradicts itself"))
    }
}

/// Reads the tokens into the session's spare room.
fn read_tokens(
    session: &mut Session,
    source: &mut Hashing<&mut dyn Read>,
    fed: usize,
) -> Result<()> {
    let vocabulary = session.plan.layout.spec.vocabulary;
    session.spare.clear();
    for _ in 0..fed {
        let mut bytes = [0; 4];
        source.fill(&mut bytes)?;
        let token = u32::from_le_bytes(bytes);
        if token >= vocabulary {
            return Err(SessionError::NoSuchToken { token, vocabulary }.into());
        }
        session.spare.push(token);
    }
    Ok(())
}

/// Checks that the caches were whole, that their hash is right and that nothing follows.
fn finish(whole: bool, mut source: Hashing<&mut dyn Read>) -> Result<()> {
    if let Some(error) = source.error.take() {
        return Err(ended(error));
    }
    let (hash, mut stored) = (source.hasher.finalize(), [0; 32]);
    source.inner.read_exact(&mut stored).map_err(ended)?;
    if !whole || hash != stored {
        return Err(damaged("its bytes do not match their hash"));
    }
    match source.inner.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(damaged("it is longer than its state")),
    }
}

fn word(header: &[u8; HEADER], at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&header[at..at + 4]);
    u32::from_le_bytes(bytes)
}

fn damaged(what: &str) -> Error {
    Error::text(
        ErrorKind::Damaged,
        format!("the saved session is damaged: {what}"),
    )
}

fn ended(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged("it ends early"),
        _ => error.into(),
    }
}

/// Hashes what passes; keeps the first error of calls that can only say whether they went well.
struct Hashing<T> {
    inner: T,
    hasher: blake3::Hasher,
    error: Option<io::Error>,
}

impl Hashing<&mut dyn Write> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.inner.write_all(bytes)
    }

    fn put(&mut self, bytes: &[u8]) -> bool {
        self.error = self.write_all(bytes).err();
        self.error.is_none()
    }
}

impl Hashing<&mut dyn Read> {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.inner.read_exact(bytes).map_err(ended)?;
        self.hasher.update(bytes);
        Ok(())
    }

    fn take(&mut self, bytes: &mut [u8]) -> bool {
        self.error = self.inner.read_exact(bytes).err();
        self.hasher.update(bytes);
        self.error.is_none()
    }
}

/// Bytes in memory; too many are an error, not an abort.
#[derive(Default)]
pub(crate) struct Buffer(Vec<u8>);

impl Buffer {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .try_reserve(bytes.len())
            .map_err(|_| io::ErrorKind::OutOfMemory)?;
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::OutOfMemory => ErrorKind::OutOfMemory,
            _ => ErrorKind::Io,
        };
        Error::text(kind, error.to_string())
    }
}

impl Error {
    /// The same, with the file it is about.
    pub(crate) fn at(self, path: &Path) -> Error {
        let text = format!("{}: {self}", path.display());
        Error::text(self.kind(), text)
    }
}
