//! The functions a template can call: Go's own, and the ones docker and podman add.

use std::cmp::Ordering;

use serde_json::Value;

use super::error::TemplateError;
use super::value::{equal, kind, order, text, truth};

type Outcome = Result<Value, TemplateError>;

/// Calls `name` with all its arguments.
pub fn call(name: &str, arguments: &[Value]) -> Outcome {
    match (name, arguments) {
        ("json", [value]) => Ok(whole_numbers(value).to_string().into()),
        ("prettyjson", [value]) => Ok(format!("{:#}", whole_numbers(value)).into()),
        ("html", values) => Ok(escaped(&print(values), HTML).into()),
        ("js", values) => Ok(escaped(&print(values), JS).into()),
        ("urlquery", values) => Ok(urlquery(&print(values)).into()),
        ("len", [value]) => len(value),
        ("index", [value, keys @ ..]) => keys.iter().try_fold(value.clone(), |value, key| index(&value, key)),
        ("slice", [value, bounds @ ..]) => slice(value, bounds),
        ("not", [value]) => Ok((!truth(value)).into()),
        ("eq", [value, others @ ..]) if !others.is_empty() => {
            others.iter().try_fold(false, |found, other| Ok(found || comparable(name, value, other)?)).map(Value::from)
        }
        ("ne", [left, right]) => comparable(name, left, right).map(|same| (!same).into()),
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
    "html",
    "js",
    "urlquery",
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
        (Value::String(text), Value::Number(number)) => {
            let position = number.as_u64().and_then(|position| usize::try_from(position).ok());
            match position.and_then(|position| text.as_bytes().get(position)) {
                Some(byte) => Ok((*byte).into()),
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

/// Whether two values are equal; a text is not comparable with a number.
fn comparable(name: &str, left: &Value, right: &Value) -> Result<bool, TemplateError> {
    let sort = |value: &Value| match value {
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        _ => 0,
    };
    match (sort(left), sort(right)) {
        (one, other) if one != other && one * other != 0 => {
            let kinds = format!("{} and {}", kind(left), kind(right));
            let message = format!("error calling {name}: incompatible types for comparison: {kinds}");
            Err(TemplateError::execute(name, message))
        }
        _ => Ok(equal(left, right)),
    }
}

/// Go writes `1` where Rust writes `1.0`.
fn whole_numbers(value: &Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => match number.as_f64() {
            Some(float) if float.fract() == 0.0 && float.abs() < 1e15 => (float as i64).into(),
            _ => value.clone(),
        },
        Value::Array(list) => list.iter().map(whole_numbers).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), whole_numbers(value))).collect(),
        _ => value.clone(),
    }
}

const HTML: &[(char, &str)] =
    &[('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;"), ('"', "&#34;"), ('\'', "&#39;"), ('\0', "\u{fffd}")];
const JS: &[(char, &str)] = &[
    ('\\', "\\\\"),
    ('\'', "\\'"),
    ('"', "\\\""),
    ('<', "\\u003C"),
    ('>', "\\u003E"),
    ('&', "\\u0026"),
    ('=', "\\u003D"),
    ('\n', "\\u000A"),
    ('\t', "\\u0009"),
    ('\r', "\\u000D"),
];

fn escaped(text: &str, table: &[(char, &str)]) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match table.iter().find(|(special, _)| *special == letter) {
            Some((_, instead)) => out.push_str(instead),
            None => out.push(letter),
        }
    }
    out
}

fn urlquery(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        b' ' => "+".to_owned(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
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
    sharp: bool,
    width: usize,
    precision: Option<usize>,
}

fn printf(format: &str, values: &[Value]) -> Result<String, TemplateError> {
    let mut out = String::new();
    let (mut at, mut reordered) = (0, false);
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
            verb.sharp |= flag == '#';
        }
        // `%[2]s`: the second value.
        if chars.next_if_eq(&'[').is_some() {
            at = number(&mut chars).unwrap_or(0).wrapping_sub(1);
            chars.next_if_eq(&']');
            reordered = true;
        }
        // `%*d`: as wide as a value says.
        if chars.next_if_eq(&'*').is_some() {
            let width = values.get(at).and_then(Value::as_u64).unwrap_or(0);
            verb.width = usize::try_from(width).unwrap_or(0).min(PADDING_MAX);
            at += 1;
        } else {
            verb.width = number(&mut chars).unwrap_or(0);
        }
        if chars.next_if_eq(&'.').is_some() {
            verb.precision = Some(number(&mut chars).unwrap_or(0));
        }
        match chars.next() {
            Some('%') => out.push('%'),
            Some(letter) => {
                match values.get(at) {
                    Some(value) => out.push_str(&verb.apply(letter, value)),
                    None => out.push_str(&format!("%!{letter}(MISSING)")),
                }
                at = at.wrapping_add(1);
            }
            None => out.push_str("%!(NOVERB)"),
        }
    }
    if let Some(extra) = values.get(at..).filter(|extra| !extra.is_empty() && !reordered) {
        let list: Vec<String> = extra.iter().map(|value| format!("{}={}", kind(value), text(value))).collect();
        out += &format!("%!(EXTRA {})", list.join(", "));
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
        let whole = value.as_i64();
        let body = match (letter, value) {
            ('v', Value::String(text)) if self.sharp => format!("{text:?}"),
            ('v', value) => text(value),
            ('s', Value::String(text)) => text.chars().take(self.precision.unwrap_or(usize::MAX)).collect(),
            ('s', value @ (Value::Array(_) | Value::Object(_))) => text(value),
            ('d', Value::Number(number)) if !number.is_f64() => self.signed(number.to_string()),
            ('f' | 'F' | 'g' | 'e', Value::Number(number)) => {
                let number = number.as_f64().unwrap_or(0.0);
                self.signed(match (letter, self.precision) {
                    ('g', None) => text(value),
                    ('e', precision) => exponent(number, precision.unwrap_or(6)),
                    (_, precision) => format!("{number:.*}", precision.unwrap_or(6)),
                })
            }
            ('q', Value::String(text)) => format!("{text:?}"),
            ('q', _) if let Some(letter) = letter_of(whole) => format!("{letter:?}"),
            ('c', _) if let Some(letter) = letter_of(whole) => letter.to_string(),
            ('t', Value::Bool(truth)) => truth.to_string(),
            ('x', _) if let Some(number) = whole => format!("{}{number:x}", if self.sharp { "0x" } else { "" }),
            ('X', _) if let Some(number) = whole => format!("{}{number:X}", if self.sharp { "0X" } else { "" }),
            ('b', _) if let Some(number) = whole => format!("{number:b}"),
            ('o', _) if let Some(number) = whole => format!("{number:o}"),
            ('U', _) if let Some(number) = whole => format!("U+{number:04X}"),
            ('x', Value::String(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
            ('X', Value::String(text)) => text.bytes().map(|byte| format!("{byte:02X}")).collect(),
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

/// The letter of a code point.
fn letter_of(number: Option<i64>) -> Option<char> {
    u32::try_from(number?).ok().and_then(char::from_u32)
}

/// `1.234500e+03`: two digits at least, and a sign.
fn exponent(number: f64, precision: usize) -> String {
    let text = format!("{number:.precision$e}");
    let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, power) = power.strip_prefix('-').map_or(('+', power), |power| ('-', power));
    format!("{digits}e{sign}{power:0>2}")
}
