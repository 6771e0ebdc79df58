//! The `tojson` filter of `transformers`: Python's `json.dumps`, not Jinja's HTML-safe one.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write as _;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error as EngineError, ErrorKind as EngineKind, State, Value};

use super::filters::margin;
use super::value::one_less;

/// `tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
pub(super) fn to_json(
    state: &mut State,
    value: &Value,
    options: Kwargs,
    depth: usize,
) -> Result<Value, EngineError> {
    let style = Style::from_options(&options)?;
    let mut writer = Writer {
        state,
        style,
        out: String::new(),
    };
    writer.value(value, depth, 0)?;
    Ok(Value::from_safe_string(writer.out))
}

struct Style {
    ascii: bool,
    indent: Option<String>,
    item: String,
    key: String,
    sorted: bool,
}

impl Style {
    fn from_options(options: &Kwargs) -> Result<Self, EngineError> {
        let ascii: Option<bool> = options.get("ensure_ascii")?;
        let indent: Option<Value> = options.get("indent")?;
        let separators: Option<Value> = options.get("separators")?;
        let sorted: Option<bool> = options.get("sort_keys")?;
        options.assert_all_used()?;
        let indent = indent
            .filter(|value| !value.is_none())
            .map(|value| margin(&value))
            .transpose()?;
        let item = if indent.is_some() { "," } else { ", " };
        let (item, key) = match separators.filter(|value| !value.is_none()) {
            Some(pair) => (text_at(&pair, 0)?, text_at(&pair, 1)?),
            None => (item.into(), ": ".into()),
        };
        Ok(Self {
            ascii: ascii.unwrap_or(false),
            indent,
            item,
            key,
            sorted: sorted.unwrap_or(false),
        })
    }
}

fn text_at(pair: &Value, index: usize) -> Result<String, EngineError> {
    let item = pair.get_item_by_index(index)?;
    let wrong = || EngineError::new(EngineKind::InvalidOperation, "separators must be two texts");
    item.as_str().map(String::from).ok_or_else(wrong)
}

struct Writer<'a, 's, 'e> {
    state: &'a mut State<'s, 'e>,
    style: Style,
    out: String,
}

impl Writer<'_, '_, '_> {
    /// Writes `value`, which stands `level` containers deep and may hold `depth` more.
    fn value(&mut self, value: &Value, depth: usize, level: usize) -> Result<(), EngineError> {
        self.state.consume_fuel(1)?;
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self
                .out
                .push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&number(value)),
            ValueKind::String => self.text(value.as_str().unwrap_or_default())?,
            ValueKind::Seq | ValueKind::Iterable => self.array(value, depth, level)?,
            ValueKind::Map => self.object(value, depth, level)?,
            kind => return Err(unserializable(kind)),
        }
        Ok(())
    }

    fn array(&mut self, value: &Value, depth: usize, level: usize) -> Result<(), EngineError> {
        let depth = one_less(depth).map_err(super::Error::into_engine)?;
        self.out.push('[');
        let mut empty = true;
        for item in value.try_iter()?.checked() {
            self.begin_item(empty, level + 1)?;
            empty = false;
            self.value(&item?, depth, level + 1)?;
        }
        self.end(']', empty, level)
    }

    fn object(&mut self, value: &Value, depth: usize, level: usize) -> Result<(), EngineError> {
        let depth = one_less(depth).map_err(super::Error::into_engine)?;
        let mut keys = value
            .try_iter()?
            .checked()
            .collect::<Result<Vec<Value>, EngineError>>()?;
        if self.style.sorted {
            keys.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
        }
        self.out.push('{');
        for (index, key) in keys.iter().enumerate() {
            self.begin_item(index == 0, level + 1)?;
            match key.kind() {
                ValueKind::String => self.text(key.as_str().unwrap_or_default())?,
                ValueKind::Number | ValueKind::Bool | ValueKind::None => {
                    self.out.push('"');
                    self.value(key, depth, level)?;
                    self.out.push('"');
                }
                kind => return Err(unserializable(kind)),
            }
            self.out.push_str(&self.style.key);
            self.value(&value.get_item(key)?, depth, level + 1)?;
        }
        self.end('}', keys.is_empty(), level)
    }

    fn begin_item(&mut self, first: bool, level: usize) -> Result<(), EngineError> {
        if !first {
            self.out.push_str(&self.style.item);
        }
        self.line(level)
    }

    fn end(&mut self, bracket: char, empty: bool, level: usize) -> Result<(), EngineError> {
        if !empty {
            self.line(level)?;
        }
        self.out.push(bracket);
        Ok(())
    }

    fn line(&mut self, level: usize) -> Result<(), EngineError> {
        if let Some(indent) = &self.style.indent {
            self.state
                .consume_fuel((indent.len() * level / 64) as u64)?;
            self.out.push('\n');
            (0..level).for_each(|_| self.out.push_str(indent));
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), EngineError> {
        self.state.consume_fuel((text.len() / 64) as u64)?;
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if c < ' ' || (self.style.ascii && !matches!(c, ' '..='~')) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        write!(self.out, "\\u{unit:04x}").expect("a string takes every text");
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
        Ok(())
    }
}

fn unserializable(kind: ValueKind) -> EngineError {
    EngineError::new(
        EngineKind::BadSerialization,
        format!("{kind} is not JSON serializable"),
    )
}

/// Python's `repr` of a number.
fn number(value: &Value) -> String {
    match f64::try_from(value.clone()) {
        Ok(number) if !value.is_integer() => float(number),
        _ => value.to_string(),
    }
}

/// The shortest digits that read back as `number`, with an exponent outside 1e-4 to 1e16.
fn float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".into();
    }
    if number.is_infinite() {
        return if number > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        }
        .into();
    }
    let size = number.abs();
    if size == 0.0 || (1e-4..1e16).contains(&size) {
        return format!("{number:?}");
    }
    let text = format!("{number:e}");
    let (digits, exponent) = text.split_once('e').expect("`{:e}` writes an exponent");
    let (sign, exponent) = exponent
        .strip_prefix('-')
        .map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

#[cfg(test)]
mod tests {
    use super::float;

    #[test]
    fn floats_print_as_python_does() {
        for (number, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e-7, "1.5e-07"),
            (1e-4, "0.0001"),
            (1e300, "1e+300"),
            (f64::INFINITY, "Infinity"),
        ] {
            assert_eq!(float(number), text);
        }
    }
}
