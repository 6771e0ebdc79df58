//! A model with the tokenizer of another file: `tokenizer MODEL.ink OTHER.ink TO.ink`.
//!
//! Both must know the same tokens; what may differ is how text becomes tokens. So the models of this repository that were
//! trained before `inkstone finetune init` left pre-tokenizers out lost theirs.

use std::io::Write as _;
use std::path::Path;

use inkstone_engine::Model;
use inkstone_engine::format::records::{self, Manifest};
use inkstone_format::{Declaration, SectionKind, Writer};

fn main() -> Result<(), Box<dyn core::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, other, to] = &arguments[..] else {
        return Err("tokenizer MODEL.ink OTHER.ink TO.ink".into());
    };
    let [model, other] = [model, other].map(|path| Model::open(path.as_ref()));
    let (model, other) = (model?, other?);
    let tokens = |model: &Model| -> Vec<Option<Vec<u8>>> {
        let tokenizer = model.tokenizer();
        let ids = 0..tokenizer.len() as u32;
        ids.map(|id| tokenizer.token_bytes(id).map(<[u8]>::to_vec))
            .collect()
    };
    if tokens(&model) != tokens(&other) {
        return Err("the files know different tokens".into());
    }
    let file = model.file();
    let mut manifest = model.manifest()?.unwrap_or_default();
    manifest.changes.push("the pre-tokenizer taken out".into());
    let manifest = records::encode::<Manifest>(&manifest);
    let section = |kind| match kind {
        SectionKind::Tokenizer => other.file().section(kind),
        SectionKind::Manifest => Some(&manifest[..]),
        SectionKind::Tensors | SectionKind::Payload => None,
        _ => file.section(kind),
    };
    let kinds = file
        .sections()
        .filter_map(|section| SectionKind::by_id(section.kind));
    let sections: Vec<_> = kinds
        .filter_map(|kind| Some((kind, section(kind)?)))
        .collect();
    let tensors: Vec<Declaration> = file.tensors().map(Into::into).collect();
    let mut writer = Writer::create(Path::new(to), &sections, &tensors)?;
    for (index, tensor) in file.tensors().enumerate() {
        writer.tensor(index)?.write_all(file.payload(&tensor))?;
    }
    writer.finish()?;
    Ok(())
}
