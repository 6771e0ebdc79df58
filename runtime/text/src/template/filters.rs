//! Built-in filters of Jinja2 whose arguments or failures `minijinja` treats differently.

use alloc::format;
use alloc::string::String;

use minijinja::value::{Kwargs, Rest};
use minijinja::{Environment, Error, ErrorKind, State, Value, filters};

/// Puts Jinja2's filters in the place of the engine's.
pub(super) fn install(environment: &mut Environment<'_>) {
    environment.add_filter("default", default);
    environment.add_filter("d", default);
    environment.add_filter("float", float);
    environment.add_filter("indent", indent);
    environment.add_filter("int", int);
    environment.add_filter("sort", sort);
}

/// `default(value, default_value='', boolean=False)`.
fn default(value: &Value, places: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let [other, lax] = arguments(&places, &named, ["default_value", "boolean"])?;
    let lax = lax.is_some_and(|lax| lax.is_true());
    let absent = value.is_undefined() || (lax && !value.is_true());
    Ok(if absent {
        other.unwrap_or_else(|| Value::from(""))
    } else {
        value.clone()
    })
}

/// `int(value, default=0, base=10)`: what is no number gives the default.
fn int(state: &State, value: &Value, places: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let [default, base] = arguments(&places, &named, ["default", "base"])?;
    let default = default.unwrap_or_else(|| Value::from(0));
    let base = base.map(u32::try_from).transpose()?;
    let none = Kwargs::from_iter::<[(&str, Value); 0]>([]);
    or_default(
        filters::int(state, value, Some(default.clone()), base, none),
        default,
    )
}

/// `float(value, default=0.0)`: what is no number gives the default.
fn float(state: &State, value: &Value, places: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let [default] = arguments(&places, &named, ["default"])?;
    let default = default.unwrap_or_else(|| Value::from(0.0));
    let none = Kwargs::from_iter::<[(&str, Value); 0]>([]);
    or_default(
        filters::float(state, value, Some(default.clone()), none),
        default,
    )
}

/// `sort(value, reverse=False, case_sensitive=False, attribute=None)`.
fn sort(state: &State, value: Value, places: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    const NAMES: [&str; 3] = ["reverse", "case_sensitive", "attribute"];
    let options = NAMES.into_iter().zip(arguments(&places, &named, NAMES)?);
    let given = options.filter_map(|(name, value)| Some((name, value?)));
    filters::sort(state, value, given.collect())
}

/// `indent(text, width=4, first=False, blank=False)`; the width may be a text.
fn indent(state: &State, text: &str, places: Rest<Value>, named: Kwargs) -> Result<String, Error> {
    let [width, first, blank] = arguments(&places, &named, ["width", "first", "blank"])?;
    let margin = margin(&width.unwrap_or_else(|| Value::from(4)))?;
    let first = first.is_some_and(|first| first.is_true());
    let blank = blank.is_some_and(|blank| blank.is_true());
    let mut out = String::new();
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let wanted = if index == 0 {
            first
        } else {
            blank || !line.is_empty()
        };
        if wanted {
            state.consume_fuel(margin.len() as u64 / 64 + 1)?;
            out.push_str(&margin);
        }
        out.push_str(line);
    }
    Ok(out)
}

/// What an indentation of `width`, a text or a number of spaces, puts before a line.
pub(super) fn margin(width: &Value) -> Result<String, Error> {
    const WIDEST: i64 = 256;
    match (width.as_str(), width.as_i64()) {
        (Some(text), _) => Ok(text.into()),
        (None, Some(width)) if width <= WIDEST => Ok(" ".repeat(width.max(0) as usize)),
        _ => Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("an indentation must be a text or a number up to {WIDEST}"),
        )),
    }
}

/// The arguments called `names`, given by place or by name, and no others.
fn arguments<const N: usize>(
    places: &[Value],
    named: &Kwargs,
    names: [&str; N],
) -> Result<[Option<Value>; N], Error> {
    if places.len() > N {
        return Err(Error::from(ErrorKind::TooManyArguments));
    }
    let mut values = [const { None }; N];
    for (index, name) in names.into_iter().enumerate() {
        values[index] = match places.get(index) {
            Some(value) => Some(value.clone()),
            None if named.has(name) => Some(named.get(name)?),
            None => None,
        };
    }
    named.assert_all_used()?;
    Ok(values)
}

fn or_default(result: Result<Value, Error>, default: Value) -> Result<Value, Error> {
    match result {
        Err(error) if error.kind() == ErrorKind::InvalidOperation => Ok(default),
        other => other,
    }
}
