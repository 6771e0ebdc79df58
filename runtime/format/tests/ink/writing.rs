//! What the writer writes is what is read, and nothing half-written ever bears the file's name.

use crate::sample::{Random, SECTIONS, built, folder, sample, tensors, weights, write};
use inkstone_format::{Declaration, File, SectionKind, WriteError, Writer};
use inkstone_quant::FORMATS;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

#[test]
fn what_is_written_is_read_in_any_order_and_pieces() {
    let folder = folder();
    let path = folder.path().join("model.ink");
    let mut random = Random(3);
    for _ in 0..60 {
        let tensors = declarations(&mut random);
        let mut writer = Writer::create(&path, SECTIONS, &tensors).unwrap();
        let mut order: Vec<usize> = (0..tensors.len()).collect();
        order.sort_by_key(|_| random.next());
        for i in order {
            let mut out = writer.tensor(i).unwrap();
            let weights = weights(i, tensors[i].bytes().unwrap());
            for piece in weights.chunks(1 + random.below(3000) as usize) {
                out.write_all(piece).unwrap();
            }
        }
        let id = writer.finish().unwrap();
        let bytes = fs::read(&path).unwrap();
        let file = File::parse(&bytes).unwrap();
        file.verify(&mut |_, _| {}).unwrap();
        assert_eq!(file.id(), id);
        assert_eq!(file.tensors().len(), tensors.len());
        for (i, (read, declared)) in file.tensors().zip(&tensors).enumerate() {
            assert_eq!(declaration(&read), *declared);
            assert_eq!(file.payload(&read), weights(i, read.bytes));
        }
    }
}

#[test]
fn a_file_without_tensors_is_a_file() {
    let bytes = built(&[(SectionKind::Tokenizer, b"words")], &[]);
    let file = File::parse(&bytes).unwrap();
    assert_eq!(file.tensors().len(), 0);
    assert_eq!(file.section(SectionKind::Tokenizer), Some(&b"words"[..]));
    file.verify(&mut |_, _| {}).unwrap();
    assert!(File::parse(&built(&[], &[])).is_ok());
}

#[test]
fn the_id_names_the_model_and_nothing_else() {
    let id = |sections: &[(SectionKind, &[u8])], tensors: &[Declaration]| {
        File::parse(&built(sections, tensors)).unwrap().id()
    };
    let base = id(SECTIONS, &tensors());
    let is_model = |(kind, _): &&(SectionKind, &[u8])| kind.id() < 0x100;
    let mut model: Vec<_> = SECTIONS.iter().filter(is_model).copied().collect();
    assert_eq!(id(&model, &tensors()), base);
    assert_ne!(id(&model, &tensors()[..3]), base);
    model[0].1 = b"another spec";
    assert_ne!(id(&model, &tensors()), base);
}

#[test]
fn tensors_must_get_exactly_their_bytes_once() {
    let folder = folder();
    let path = folder.path().join("model.ink");
    let tensors = tensors();
    let mut writer = Writer::create(&path, &[], &tensors).unwrap();
    let first = weights(0, tensors[0].bytes().unwrap());
    let mut out = writer.tensor(0).unwrap();
    out.write_all(&first).unwrap();
    let more = out.write_all(&[0]).unwrap_err();
    assert_eq!(more.kind(), ErrorKind::InvalidInput);
    assert!(matches!(writer.tensor(0), Err(WriteError::Tensor(0))));
    assert!(matches!(writer.tensor(4), Err(WriteError::Tensor(4))));
    writer.tensor(1).unwrap().write_all(&[1]).unwrap();
    assert!(matches!(
        writer.tensor(2),
        Err(WriteError::Short { tensor: 1, .. })
    ));
    assert!(matches!(writer.finish(), Err(WriteError::Short { .. })));
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn impossible_declarations_are_refused() {
    let folder = folder();
    let path = folder.path().join("model.ink");
    let refusal = |sections: &[(SectionKind, &[u8])], edit: fn(&mut [Declaration])| {
        let mut tensors = tensors();
        edit(&mut tensors);
        Writer::create(&path, sections, &tensors).err().unwrap()
    };
    let payload: &[(SectionKind, &[u8])] = &[(SectionKind::Payload, b"")];
    assert!(matches!(
        refusal(payload, |_| {}),
        WriteError::OwnSection(_)
    ));
    let twice: &[(SectionKind, &[u8])] = &[(SectionKind::Spec, b"a"), (SectionKind::Spec, b"b")];
    assert!(matches!(
        refusal(twice, |_| {}),
        WriteError::SectionTwice(_)
    ));
    let many = vec![(SectionKind::Adapter, &b""[..]); 255];
    assert!(matches!(refusal(&many, |_| {}), WriteError::Sections(257)));
    assert!(matches!(
        refusal(&[], |t| t.swap(0, 1)),
        WriteError::Order(1)
    ));
    assert!(matches!(
        refusal(&[], |t| t[1].role = 0),
        WriteError::Order(1)
    ));
    assert!(matches!(
        refusal(&[], |t| t[1].rows = 0),
        WriteError::Shape(1)
    ));
    assert!(matches!(
        refusal(&[], |t| t[1].inputs = u32::MAX),
        WriteError::Shape(1)
    ));
    assert!(matches!(
        refusal(&[], |t| t[1].panel_rows = 8),
        WriteError::Shape(1)
    ));
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn a_dropped_writer_leaves_the_old_file_and_nothing_else() {
    let folder = folder();
    let path = folder.path().join("model.ink");
    write(&path, SECTIONS, &tensors());
    drop(half_written(&path));
    assert_eq!(names(folder.path()), ["model.ink"]);
    assert_eq!(fs::read(&path).unwrap(), sample());
}

#[cfg(not(target_family = "wasm"))]
#[test]
fn a_killed_writer_leaves_the_old_file() {
    if let Some(path) = std::env::var_os("INKSTONE_TEST_ABORT") {
        let _writer = half_written(Path::new(&path));
        std::process::abort();
    }
    let folder = folder();
    let path = folder.path().join("model.ink");
    write(&path, SECTIONS, &tensors());
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writing::a_killed_writer_leaves_the_old_file"])
        .env("INKSTONE_TEST_ABORT", &path)
        .output()
        .unwrap()
        .status;
    assert!(!status.success());
    assert_eq!(
        names(folder.path()).len(),
        2,
        "the temporary file was begun"
    );
    assert_eq!(fs::read(&path).unwrap(), sample());
}

#[test]
fn an_unusable_path_is_an_error() {
    let folder = folder();
    for path in [
        folder.path().join("absent/model.ink"),
        "/".into(),
        "..".into(),
    ] {
        assert!(matches!(
            Writer::create(&path, &[], &[]),
            Err(WriteError::Io(_))
        ));
    }
}

fn half_written(path: &Path) -> Writer {
    let mut writer = Writer::create(path, SECTIONS, &tensors()).unwrap();
    let mut out = writer.tensor(0).unwrap();
    out.write_all(&[1; 10]).unwrap();
    out.flush().unwrap();
    writer
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let name = |e: std::io::Result<fs::DirEntry>| e.unwrap().file_name().into_string().unwrap();
    entries.map(name).collect()
}

/// Up to twelve tensors of any format, ascending.
fn declarations(random: &mut Random) -> Vec<Declaration> {
    let declare = |i: u16| Declaration {
        layer: i / 3,
        role: i % 3,
        format: &FORMATS[random.below(FORMATS.len() as u64) as usize],
        panel_rows: [1, 16][random.below(2) as usize],
        rows: 1 + random.below(70) as u32,
        inputs: 1 + random.below(600) as u32,
    };
    (0..12).map(declare).collect()
}

fn declaration(tensor: &inkstone_format::Tensor) -> Declaration {
    Declaration {
        layer: tensor.layer,
        role: tensor.role,
        format: tensor.format,
        panel_rows: tensor.panel_rows,
        rows: tensor.rows,
        inputs: tensor.inputs,
    }
}
