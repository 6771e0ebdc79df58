//! llama.cpp's grammars, in Lark: the same rules in other marks.

use core::fmt::Write as _;
use core::iter::Peekable;
use core::str::Chars;
use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind, Result};

/// The rule that a text is of, there and here.
const ROOT: (&str, &str) = ("root", "start");

/// The same grammar in Lark.
///
/// # Errors
/// [`ErrorKind::Invalid`] with the line of what is no GBNF.
pub(super) fn to_lark(text: &str) -> Result<String> {
    let marks = Reader::new(text).marks()?;
    let mut names = Names::default();
    let mut lark = String::new();
    let mut after = None;
    for (i, (mark, line)) in marks.iter().enumerate() {
        let ends = |mark: &Mark| matches!(mark, Mark::Or | Mark::Close | Mark::Rule(_));
        let begins =
            |mark: Option<&Mark>| matches!(mark, Some(Mark::Or | Mark::Open | Mark::Rule(_)));
        if begins(after) && ends(mark) {
            lark.push_str("\"\" ");
        }
        match mark {
            Mark::Rule(name) => {
                let separator = if i == 0 { "" } else { "\n" };
                let _ = write!(lark, "{separator}{}: ", names.of(name));
            }
            _ if i == 0 => return Err(wrong(*line, "a rule begins with `name ::=`")),
            Mark::Name(name) => {
                let _ = write!(lark, "{} ", names.of(name));
            }
            Mark::Literal(text) => {
                let _ = write!(lark, "{} ", serde_json::Value::from(text.as_str()));
            }
            Mark::Class(class) => {
                let _ = write!(lark, "/{class}/ ");
            }
            // The operator belongs to what stands before.
            Mark::Repeat(times) => {
                lark.truncate(lark.trim_end().len());
                let _ = write!(lark, "{times} ");
            }
            Mark::Or => lark.push_str("| "),
            Mark::Open => lark.push('('),
            Mark::Close => lark.push_str(") "),
        }
        after = Some(mark);
    }
    if matches!(after, Some(Mark::Or | Mark::Rule(_))) {
        lark.push_str("\"\"");
    }
    if !names.0.contains_key(ROOT.0) {
        return Err(wrong(1, "there is no rule `root`"));
    }
    lark.push('\n');
    Ok(lark)
}

fn wrong(line: usize, what: &str) -> Error {
    Error::text(ErrorKind::Invalid, format!("line {line}: {what}"))
}

/// Names of rules, which Lark wants in small letters.
#[derive(Default)]
struct Names(BTreeMap<String, String>);

impl Names {
    fn of(&mut self, name: &str) -> &str {
        let number = self.0.len();
        self.0.entry(name.to_owned()).or_insert_with(|| {
            if name == ROOT.0 {
                return ROOT.1.to_owned();
            }
            format!("r{number}_{}", name.to_lowercase().replace('-', "_"))
        })
    }
}

/// What a grammar is made of.
enum Mark {
    /// A name and `::=`.
    Rule(String),
    Name(String),
    Literal(String),
    /// A set of characters, as a regular expression.
    Class(String),
    /// `*`, `+`, `?` or times in braces.
    Repeat(String),
    Or,
    Open,
    Close,
}

struct Reader<'a> {
    text: Peekable<Chars<'a>>,
    line: usize,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Reader {
            text: text.chars().peekable(),
            line: 1,
        }
    }

    /// All marks, with their lines.
    fn marks(mut self) -> Result<Vec<(Mark, usize)>> {
        let mut marks = Vec::new();
        while let Some(&next) = self.text.peek() {
            let line = self.line;
            let mark = match next {
                c if c.is_whitespace() => {
                    self.next();
                    continue;
                }
                '#' => {
                    while self.text.peek().is_some_and(|c| *c != '\n') {
                        self.next();
                    }
                    continue;
                }
                '"' => Mark::Literal(self.literal()?),
                '[' => Mark::Class(self.class()?),
                '{' => Mark::Repeat(self.until('}')?),
                ':' => {
                    self.defines(&mut marks)?;
                    continue;
                }
                c if is_of_name(c) => Mark::Name(self.name()),
                c => {
                    self.next();
                    match c {
                        '|' => Mark::Or,
                        '(' => Mark::Open,
                        ')' => Mark::Close,
                        '*' | '+' | '?' => Mark::Repeat(c.to_string()),
                        '.' => Mark::Class("(?s:.)".to_owned()),
                        _ => return Err(wrong(line, &format!("`{c}` is no part of GBNF"))),
                    }
                }
            };
            marks.push((mark, line));
        }
        Ok(marks)
    }

    fn next(&mut self) -> Option<char> {
        let next = self.text.next();
        self.line += usize::from(next == Some('\n'));
        next
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.text.next_if(|c| is_of_name(*c)) {
            name.push(c);
        }
        name
    }

    /// Makes the name before `::=` a rule's.
    fn defines(&mut self, marks: &mut [(Mark, usize)]) -> Result<()> {
        let line = self.line;
        let sign = [self.next(), self.next(), self.next()];
        match marks.last_mut() {
            Some((mark, _)) if sign == [Some(':'), Some(':'), Some('=')] => match mark {
                Mark::Name(name) => {
                    *mark = Mark::Rule(core::mem::take(name));
                    Ok(())
                }
                _ => Err(wrong(line, "a name belongs before `::=`")),
            },
            _ => Err(wrong(line, "a rule begins with `name ::=`")),
        }
    }

    /// Text up to and with a closing character.
    fn until(&mut self, close: char) -> Result<String> {
        let (line, mut text) = (self.line, String::new());
        while let Some(c) = self.next() {
            text.push(c);
            if c == close {
                text.retain(|c| !c.is_whitespace());
                return Ok(text);
            }
        }
        Err(wrong(line, &format!("no `{close}` follows")))
    }

    fn literal(&mut self) -> Result<String> {
        let (line, mut text) = (self.line, String::new());
        self.next();
        loop {
            match self.next() {
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escaped()?),
                Some(c) => text.push(c),
                None => return Err(wrong(line, "no `\"` ends the text")),
            }
        }
    }

    fn class(&mut self) -> Result<String> {
        let (line, mut class) = (self.line, "[".to_owned());
        self.next();
        if self.text.next_if_eq(&'^').is_some() {
            class.push('^');
        }
        let mut between = false;
        loop {
            match self.next() {
                Some(']') => {
                    class.push(']');
                    return Ok(class);
                }
                // A dash between two characters spans what lies between; at an end it is itself.
                Some('-') if between && self.text.peek() != Some(&']') => {
                    class.push('-');
                    between = false;
                    continue;
                }
                Some('\\') => push_code(&mut class, self.escaped()?),
                Some(c) => push_code(&mut class, c),
                None => return Err(wrong(line, "no `]` ends the set of characters")),
            }
            between = true;
        }
    }

    /// The character that a backslash and what follows stand for.
    fn escaped(&mut self) -> Result<char> {
        let line = self.line;
        let digits = match self.next() {
            Some('n') => return Ok('\n'),
            Some('r') => return Ok('\r'),
            Some('t') => return Ok('\t'),
            Some(c @ ('"' | '\\' | '[' | ']' | '-' | '^')) => return Ok(c),
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            _ => return Err(wrong(line, "no such escape")),
        };
        let text: String = (0..digits).filter_map(|_| self.next()).collect();
        let code = u32::from_str_radix(&text, 16).ok();
        code.and_then(char::from_u32)
            .ok_or_else(|| wrong(line, &format!("`{text}` is no character's number")))
    }
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

/// A character by its number: none has a meaning of its own then.
fn push_code(class: &mut String, c: char) {
    let _ = write!(class, "\\x{{{:x}}}", u32::from(c));
}

#[cfg(test)]
mod tests {
    use super::to_lark;

    #[test]
    fn rules_keep_their_meaning_in_other_marks() {
        let lark = to_lark(
            "root ::= my-item+ # all\nmy-item ::= \"a\\n\\x41\" [^a-z\\]-]{1, 3} . |\n  (root | )?",
        );
        let expected = "start: r1_my_item+ \nr1_my_item: \"a\\nA\" /[^\\x{61}-\\x{7a}\\x{5d}\\x{2d}]/{1,3} /(?s:.)/ \
                        | (start | \"\" )? \n";
        assert_eq!(lark.unwrap(), expected);
        assert_eq!(
            to_lark("root ::= | \"x\" |").unwrap(),
            "start: \"\" | \"x\" | \"\"\n"
        );
    }

    #[test]
    fn what_is_no_gbnf_is_refused_with_its_line() {
        for (text, expected) in [
            ("", "line 1: there is no rule `root`"),
            ("a ::= \"x\"", "line 1: there is no rule `root`"),
            ("\"x\"", "line 1: a rule begins with `name ::=`"),
            ("root ::= \"x", "line 1: no `\"` ends the text"),
            ("root ::=\n [a", "line 2: no `]` ends the set of characters"),
            ("root ::=\n\n x{2", "line 3: no `}` follows"),
            ("root ::= \"\\q\"", "line 1: no such escape"),
            (
                "root ::= \"\\uD800\"",
                "line 1: `D800` is no character's number",
            ),
            ("root = x", "line 1: `=` is no part of GBNF"),
            ("root :x", "line 1: a rule begins with `name ::=`"),
            ("( ::= x", "line 1: a name belongs before `::=`"),
        ] {
            assert_eq!(to_lark(text).unwrap_err().to_string(), expected);
        }
    }
}
