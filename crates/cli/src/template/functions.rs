//! The functions a template can call: Go's own, and the ones docker and podman add.

use std::cmp::Ordering;

use serde_json::Value;

use super::error::TemplateError;
use super::value::{equal, kind, order, text, truth};

type Outcome = Result<Value, TemplateError>;

/// Calls `name` with all its arguments.
pub fn call(name: &str, arguments: &[Value]) -> Outcome {
    match (name, arguments) {
        ("json", [value]) => Ok(serde_json::to_string(value).expect("a JSON value serializes").into()),
        ("prettyjson", [value]) => Ok(serde_json::to_string_pretty(value).expect("a JSON value serializes").into()),
        ("len", [value]) => len(value),
        ("index", [value, keys @ ..]) => keys.iter().try_fold(value.clone(), |value, key| index(&value, key)),
        ("slice", [value, bounds @ ..]) => slice(value, bounds),
        ("not", [value]) => Ok((!truth(value)).into()),
        ("eq", [value, others @ ..]) if !others.is_empty() => Ok(others.iter().any(|other| equal(value, other)).into()),
        ("ne", [left, right]) => Ok((!equal(left, right)).into()),
        ("lt", [left, right]) => compare(name, left, right, Ordering::is_lt),
        ("le", [left, right]) => compare(name, left, right, Ordering::is_le),
        ("gt", [left, right]) => compare(name, left, right, Ordering::is_gt),
        ("ge", [left, right]) => compare(name, left, right, Ordering::is_ge),
        ("print", values) => Ok(print(values).into()),
        ("println", values) => Ok((values.iter().map(text).collect::<Vec<_>>().join(" ") + "\n").into()),
        ("printf", [format, values @ ..]) => printf(&text(format), values).map(Value::from),
        ("join", [list, separator]) => join(list, &text(separator)),
        ("split", [value, separator]) => {
            Ok(text(value).split(text(separator).as_str()).map(Value::from).collect::<Vec<_>>().into())
        }
        ("upper", [value]) => Ok(text(value).to_uppercase().into()),
        ("lower", [value]) => Ok(text(value).to_lowercase().into()),
        ("title", [value]) => Ok(title(&text(value)).into()),
        ("truncate", [value, length]) => Ok(text(value).chars().take(count(name, length)?).collect::<String>().into()),
        ("pad", [value, before, after]) => pad(&text(value), count(name, before)?, count(name, after)?),
        ("and" | "or", [last]) => Ok(last.clone()),
        (known, _) if KNOWN.contains(&known) => {
            Err(TemplateError::execute(name, format!("wrong number of args for {name}: got {}", arguments.len())))
        }
        _ => Err(TemplateError::Parse { line: 1, message: format!("function {name:?} not defined") }),
    }
}

const KNOWN: &[&str] = &[
    "json",
    "prettyjson",
    "len",
    "index",
    "slice",
    "not",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "print",
    "println",
    "printf",
    "join",
    "split",
    "upper",
    "lower",
    "title",
    "truncate",
    "pad",
    "and",
    "or",
];

fn len(value: &Value) -> Outcome {
    match value {
        Value::String(text) => Ok(text.len().into()),
        Value::Array(list) => Ok(list.len().into()),
        Value::Object(map) => Ok(map.len().into()),
        Value::Null => Ok(0.into()),
        other => Err(TemplateError::execute("len", format!("len of type {}", kind(other)))),
    }
}

/// A list by position, a map by key; a missing key gives the empty text, Go's zero value for the maps we print.
fn index(value: &Value, key: &Value) -> Outcome {
    let failed = |message: String| Err(TemplateError::execute("index", message));
    match (value, key) {
        (Value::Array(list), Value::Number(number)) => {
            let position = number.as_u64().and_then(|position| usize::try_from(position).ok());
            match position.and_then(|position| list.get(position)) {
                Some(value) => Ok(value.clone()),
                None => failed(format!("error calling index: index out of range: {number}")),
            }
        }
        (Value::Object(map), Value::String(key)) => Ok(map.get(key).cloned().unwrap_or_else(|| "".into())),
        (Value::Null, Value::String(_)) => Ok("".into()),
        (Value::Null, _) => failed("error calling index: index of untyped nil".into()),
        (value, key) => failed(format!("error calling index: cannot index {} with {}", kind(value), kind(key))),
    }
}

fn slice(value: &Value, bounds: &[Value]) -> Outcome {
    let length = match value {
        Value::String(text) => text.len(),
        Value::Array(list) => list.len(),
        other => return Err(TemplateError::execute("slice", format!("can't slice item of type {}", kind(other)))),
    };
    let start = bounds.first().map_or(Ok(0), |bound| count("slice", bound))?;
    let end = bounds.get(1).map_or(Ok(length), |bound| count("slice", bound))?;
    let outside = || TemplateError::execute("slice", format!("error calling slice: index out of range: {start}:{end}"));
    match value {
        Value::String(text) => text.get(start..end).map(Value::from).ok_or_else(outside),
        Value::Array(list) => list.get(start..end).map(|part| part.to_vec().into()).ok_or_else(outside),
        _ => Err(outside()),
    }
}

fn compare(name: &str, left: &Value, right: &Value, holds: fn(Ordering) -> bool) -> Outcome {
    match order(left, right) {
        Some(order) => Ok(holds(order).into()),
        None => Err(TemplateError::execute(name, format!("error calling {name}: incompatible types for comparison"))),
    }
}

/// Go puts a space between two operands when neither is a string.
fn print(values: &[Value]) -> String {
    let mut out = String::new();
    for (at, value) in values.iter().enumerate() {
        if at > 0 && !value.is_string() && !values[at - 1].is_string() {
            out.push(' ');
        }
        out.push_str(&text(value));
    }
    out
}

fn join(list: &Value, separator: &str) -> Outcome {
    match list {
        Value::Array(list) => Ok(list.iter().map(text).collect::<Vec<_>>().join(separator).into()),
        Value::Null => Ok("".into()),
        other => {
            Err(TemplateError::execute("join", format!("wrong type for value; expected []string; got {}", kind(other))))
        }
    }
}

fn title(text: &str) -> String {
    let mut at_start = true;
    let raise = |c: char| {
        let raised = if at_start { c.to_uppercase().collect() } else { c.to_string() };
        at_start = !c.is_alphanumeric();
        raised
    };
    text.chars().map(raise).collect()
}

fn count(name: &str, value: &Value) -> Result<usize, TemplateError> {
    let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
    number
        .ok_or_else(|| TemplateError::execute(name, format!("wrong type for value; expected int; got {}", kind(value))))
}

/// Widest padding of `pad` and `printf`: a terminal's width many times over.
const PADDING_MAX: usize = 4096;

fn pad(text: &str, before: usize, after: usize) -> Outcome {
    let blank = |count: usize| " ".repeat(count.min(PADDING_MAX));
    Ok(if text.is_empty() { "".into() } else { format!("{}{text}{}", blank(before), blank(after)).into() })
}

/// One `%…` of a format.
#[derive(Default)]
struct Verb {
    left: bool,
    zero: bool,
    plus: bool,
    width: usize,
    precision: Option<usize>,
}

fn printf(format: &str, values: &[Value]) -> Result<String, TemplateError> {
    let mut out = String::new();
    let mut values = values.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut verb = Verb::default();
        while let Some(flag) = chars.next_if(|c| matches!(c, '-' | '0' | '+' | ' ' | '#')) {
            verb.left |= flag == '-';
            verb.zero |= flag == '0';
            verb.plus |= flag == '+';
        }
        verb.width = number(&mut chars).unwrap_or(0);
        if chars.next_if_eq(&'.').is_some() {
            verb.precision = Some(number(&mut chars).unwrap_or(0));
        }
        match chars.next() {
            Some('%') => out.push('%'),
            Some(letter) => match values.next() {
                Some(value) => out.push_str(&verb.apply(letter, value)),
                None => out.push_str(&format!("%!{letter}(MISSING)")),
            },
            None => out.push_str("%!(NOVERB)"),
        }
    }
    Ok(out)
}

fn number(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<usize> {
    let mut number = None;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        number = Some((number.unwrap_or(0) * 10 + digit as usize).min(PADDING_MAX));
        chars.next();
    }
    number
}

impl Verb {
    fn apply(&self, letter: char, value: &Value) -> String {
        let body = match (letter, value) {
            ('s' | 'v', value) => match self.precision {
                Some(length) if letter == 's' => text(value).chars().take(length).collect(),
                _ => text(value),
            },
            ('d', Value::Number(number)) if !number.is_f64() => self.signed(number.to_string()),
            ('f' | 'g' | 'e', Value::Number(number)) => {
                let number = number.as_f64().unwrap_or(0.0);
                self.signed(match (letter, self.precision) {
                    ('g', None) => number.to_string(),
                    (_, precision) => format!("{number:.*}", precision.unwrap_or(6)),
                })
            }
            ('q', value) => format!("{:?}", text(value)),
            ('t', Value::Bool(truth)) => truth.to_string(),
            ('x', Value::Number(number)) => format!("{:x}", number.as_i64().unwrap_or(0)),
            ('X', Value::Number(number)) => format!("{:X}", number.as_i64().unwrap_or(0)),
            ('x', Value::String(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
            ('T', value) => kind(value).to_owned(),
            (letter, value) => format!("%!{letter}({}={})", kind(value), text(value)),
        };
        let missing = self.width.saturating_sub(body.chars().count());
        match (self.left, self.zero && value.is_number()) {
            (true, _) => body + &" ".repeat(missing),
            (false, true) => "0".repeat(missing) + &body,
            (false, false) => " ".repeat(missing) + &body,
        }
    }

    fn signed(&self, text: String) -> String {
        if self.plus && !text.starts_with('-') { format!("+{text}") } else { text }
    }
}
