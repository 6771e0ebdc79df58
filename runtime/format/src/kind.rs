//! What a section holds: the table of kinds.

/// Kinds below this number say what the model computes; their rows make the model's id.
pub(crate) const RECORDS: u16 = 0x100;
/// Kinds from this number on were attached later, may stand several times and in any order.
pub(crate) const ATTACHMENTS: u16 = 0x200;

/// What a section holds. The numbers are those of the file and are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
#[non_exhaustive]
pub enum SectionKind {
    /// The resolved description of the network.
    Spec = 1,
    /// The table of tensors.
    Tensors = 2,
    /// Vocabulary, merges and look-up tables.
    Tokenizer = 3,
    /// Chat template, Jinja as UTF-8.
    Template = 4,
    /// Chat template as turn prefixes and suffixes.
    Turns = 5,
    /// Token ids that end an answer.
    Stops = 6,
    /// The weights.
    Payload = 7,
    /// Name, licence, attribution, changes.
    Manifest = 0x100,
    /// Where each tensor comes from and how it was rewritten.
    Provenance = 0x101,
    /// Low-rank additions to the weights.
    Adapter = 0x200,
    /// A signature over hashes of the section table.
    Signature = 0x201,
    /// What an evaluation measured.
    Receipt = 0x202,
    /// Tensors again, laid out for another processor.
    SecondLayout = 0x203,
}

/// A row of [`KINDS`].
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// The kind itself.
    pub kind: SectionKind,
    /// Name for tables and messages.
    pub name: &'static str,
}

/// Every kind known to this version, in order of their numbers.
pub static KINDS: &[Kind] = &[
    row(SectionKind::Spec, "spec"),
    row(SectionKind::Tensors, "tensors"),
    row(SectionKind::Tokenizer, "tokenizer"),
    row(SectionKind::Template, "template"),
    row(SectionKind::Turns, "turns"),
    row(SectionKind::Stops, "stops"),
    row(SectionKind::Payload, "payload"),
    row(SectionKind::Manifest, "manifest"),
    row(SectionKind::Provenance, "provenance"),
    row(SectionKind::Adapter, "adapter"),
    row(SectionKind::Signature, "signature"),
    row(SectionKind::Receipt, "receipt"),
    row(SectionKind::SecondLayout, "second-layout"),
];

const fn row(kind: SectionKind, name: &'static str) -> Kind {
    Kind { kind, name }
}

impl SectionKind {
    /// The kind numbered `id`.
    pub fn by_id(id: u16) -> Option<SectionKind> {
        let at = KINDS.binary_search_by_key(&id, |row| row.kind.id()).ok()?;
        Some(KINDS[at].kind)
    }

    /// Number in files.
    pub const fn id(self) -> u16 {
        self as u16
    }

    /// Whether a file may hold several: those attached later.
    pub const fn repeats(self) -> bool {
        self.id() >= ATTACHMENTS
    }

    /// Name for tables and messages.
    pub fn name(self) -> &'static str {
        let at = KINDS.binary_search_by_key(&self.id(), |row| row.kind.id());
        KINDS[at.expect("KINDS has a row for every kind; a test counts them")].name
    }
}
