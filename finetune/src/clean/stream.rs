//! Records of a file one after the other, whatever the file's size, with the bytes they are written with.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::data;
use crate::duplicates::text_of;

/// Longest record, in bytes.
const LONGEST: u64 = 16 << 20;

/// A record of a file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    /// As it stands in the file.
    pub(super) raw: Vec<u8>,
    /// What it says.
    pub(super) text: String,
}

/// Records of one file.
pub(super) struct Records {
    source: Source,
    name: String,
    number: usize,
}

enum Source {
    /// A JSON object a line.
    Lines(BufReader<File>),
    /// Texts, an empty line apart.
    Paragraphs(BufReader<File>),
    Table {
        reader: Box<csv::Reader<Bounded>>,
        names: csv::StringRecord,
        delimiter: u8,
    },
}

/// A file of which no more than so many bytes can be read.
pub(super) struct Bounded {
    file: File,
    left: u64,
}

impl Read for Bounded {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            let text = format!("is longer than {LONGEST} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        let read = self.file.read(to)?;
        self.left = self.left.saturating_sub(read as u64);
        Ok(read)
    }
}

impl Records {
    pub(super) fn open(path: &Path) -> Result<Records> {
        let name = path.display().to_string();
        let file = File::open(path).with_context(|| name.clone())?;
        let extension = path.extension().and_then(|e| e.to_str());
        let source = match extension.unwrap_or_default() {
            "jsonl" | "ndjson" => Source::Lines(marked(BufReader::new(file))?),
            "csv" => table(file, b',').with_context(|| name.clone())?,
            "tsv" => table(file, b'\t').with_context(|| name.clone())?,
            "json" | "parquet" => {
                bail!("{name}: is read as a whole; write a record a line (.jsonl)")
            }
            _ => Source::Paragraphs(marked(BufReader::new(file))?),
        };
        Ok(Records {
            source,
            name,
            number: 0,
        })
    }

    /// What a file of such records begins with.
    pub(super) fn head(&self) -> Result<Vec<u8>> {
        match &self.source {
            Source::Table {
                names, delimiter, ..
            } => row(names, *delimiter),
            _ => Ok(Vec::new()),
        }
    }

    fn read(&mut self) -> Result<Option<Record>> {
        self.number += 1;
        match &mut self.source {
            Source::Lines(reader) => {
                let Some(raw) = line(reader)? else {
                    return Ok(None);
                };
                let value: Value = serde_json::from_slice(&raw)?;
                let text = text_of(&data::example(&value)?);
                Ok(Some(Record { raw, text }))
            }
            Source::Paragraphs(reader) => paragraph(reader),
            Source::Table {
                reader,
                names,
                delimiter,
            } => {
                let mut record = csv::StringRecord::new();
                reader.get_mut().left = LONGEST;
                if !reader.read_record(&mut record)? {
                    return Ok(None);
                }
                let lower = names.iter().map(|name| name.trim().to_lowercase());
                let fields = lower.zip(record.iter().map(Value::from)).collect();
                let text = text_of(&data::example(&Value::Object(fields))?);
                let raw = row(&record, *delimiter)?;
                Ok(Some(Record { raw, text }))
            }
        }
    }
}

impl Iterator for Records {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Result<Record>> {
        let read = self.read();
        let named = read.with_context(|| format!("{}: record {}", self.name, self.number));
        named.transpose()
    }
}

/// The next line that is not empty, with its end.
fn line(reader: &mut BufReader<File>) -> Result<Option<Vec<u8>>> {
    loop {
        let mut raw = Vec::new();
        reader.take(LONGEST + 1).read_until(b'\n', &mut raw)?;
        if raw.len() as u64 > LONGEST {
            bail!("is longer than {LONGEST} bytes");
        }
        if raw.is_empty() {
            return Ok(None);
        }
        if !raw.ends_with(b"\n") {
            raw.push(b'\n');
        }
        if !raw.trim_ascii().is_empty() {
            return Ok(Some(raw));
        }
    }
}

/// Lines up to an empty one, with one after them.
fn paragraph(reader: &mut BufReader<File>) -> Result<Option<Record>> {
    let mut raw = Vec::new();
    loop {
        let start = raw.len();
        reader.take(LONGEST + 1).read_until(b'\n', &mut raw)?;
        if raw.len() as u64 > LONGEST {
            bail!("is longer than {LONGEST} bytes");
        }
        let over = raw.len() == start;
        if raw[start..].trim_ascii().is_empty() {
            raw.truncate(start);
            if !raw.is_empty() {
                break;
            }
            if over {
                return Ok(None);
            }
        }
    }
    let text = String::from_utf8_lossy(&raw).into_owned();
    if !raw.ends_with(b"\n") {
        raw.push(b'\n');
    }
    raw.push(b'\n');
    Ok(Some(Record { raw, text }))
}

/// Behind the mark that some programs begin UTF-8 with.
fn marked(mut file: BufReader<File>) -> Result<BufReader<File>> {
    const MARK: &[u8] = "\u{feff}".as_bytes();
    if file.fill_buf()?.starts_with(MARK) {
        file.consume(MARK.len());
    }
    Ok(file)
}

fn table(file: File, delimiter: u8) -> Result<Source> {
    let file = Bounded {
        file,
        left: LONGEST,
    };
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .from_reader(file);
    let names = reader.headers()?.clone();
    Ok(Source::Table {
        reader: Box::new(reader),
        names,
        delimiter,
    })
}

fn row(record: &csv::StringRecord, delimiter: u8) -> Result<Vec<u8>> {
    let mut writer = csv::WriterBuilder::new()
        .delimiter(delimiter)
        .from_writer(Vec::new());
    writer.write_record(record)?;
    Ok(writer.into_inner()?)
}
