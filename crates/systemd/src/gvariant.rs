//! Values as text, in GLib's form: what stands in `org.systemd.property.*` annotations.
//!
//! ```text
//! true | 'text' | "text" | 17 | uint64 17 | 1.5 | ['a', 'b'] | (1, 'a') | <'a'> | @as []
//! ```

use crate::Value;

/// Reads one value; `None` where it is none.
pub fn parse(text: &str) -> Option<Value> {
    let mut reader = Reader { rest: text.trim() };
    let value = reader.value(None, 0)?;
    reader.rest.trim().is_empty().then_some(value)
}

/// Values within values; nobody writes more by hand.
const DEPTH_MAX: usize = 16;

/// Type keywords, and the letters they stand for.
const KEYWORDS: [(&str, &str); 12] = [
    ("boolean", "b"),
    ("byte", "y"),
    ("int16", "n"),
    ("uint16", "q"),
    ("int32", "i"),
    ("uint32", "u"),
    ("int64", "x"),
    ("uint64", "t"),
    ("double", "d"),
    ("string", "s"),
    ("objectpath", "o"),
    ("signature", "g"),
];

struct Reader<'t> {
    rest: &'t str,
}

impl<'t> Reader<'t> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, what: char) -> bool {
        self.skip();
        let rest = self.rest.strip_prefix(what);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Up to something that cannot be in a word or number.
    fn word(&mut self) -> &'t str {
        let end = self.rest.find(|c: char| c.is_whitespace() || ",])>".contains(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn value(&mut self, wanted: Option<&str>, depth: usize) -> Option<Value> {
        self.skip();
        if depth > DEPTH_MAX {
            return None;
        }
        match self.rest.chars().next()? {
            '@' => {
                let (kind, rest) = self.rest[1..].split_once(char::is_whitespace)?;
                self.rest = rest;
                self.value(Some(kind), depth + 1)
            }
            quote @ ('\'' | '"') => text(self.quoted(quote)?, wanted),
            '[' => self.array(wanted, depth),
            '(' => self.tuple(wanted, depth),
            '<' => {
                self.eat('<');
                let inner = self.value(None, depth + 1)?;
                self.eat('>').then(|| Value::Variant(Box::new(inner)))
            }
            _ => {
                let before = self.rest;
                let word = self.word();
                match KEYWORDS.iter().find(|(name, _)| *name == word) {
                    Some((_, kind)) => self.value(Some(kind), depth + 1),
                    None if word.is_empty() => {
                        self.rest = before;
                        None
                    }
                    None => plain(word, wanted),
                }
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Option<String> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.rest = &self.rest[at + c.len_utf8()..];
                    return Some(text);
                }
                '\\' => text.push(match chars.next()?.1 {
                    'n' => '\n',
                    't' => '\t',
                    other => other,
                }),
                other => text.push(other),
            }
        }
        None
    }

    fn array(&mut self, wanted: Option<&str>, depth: usize) -> Option<Value> {
        let of = match wanted {
            Some(kind) => Some(kind.strip_prefix('a')?.to_owned()),
            None => None,
        };
        self.eat('[');
        let mut elements = Vec::new();
        while !self.eat(']') {
            if !elements.is_empty() && !self.eat(',') {
                return None;
            }
            // The first says what the others are.
            let kind = of.clone().or_else(|| elements.first().map(Value::signature));
            elements.push(self.value(kind.as_deref(), depth + 1)?);
        }
        let of = of.or_else(|| elements.first().map(Value::signature))?;
        elements.iter().all(|element| element.signature() == of).then_some(Value::Array(of, elements))
    }

    fn tuple(&mut self, wanted: Option<&str>, depth: usize) -> Option<Value> {
        self.eat('(');
        let mut fields = Vec::new();
        while !self.eat(')') {
            if !fields.is_empty() && !self.eat(',') {
                return None;
            }
            if self.eat(')') {
                break;
            }
            fields.push(self.value(None, depth + 1)?);
        }
        let made = Value::Struct(fields);
        wanted.is_none_or(|kind| kind == made.signature()).then_some(made)
    }
}

fn text(text: String, wanted: Option<&str>) -> Option<Value> {
    match wanted {
        None | Some("s") => Some(Value::Str(text)),
        Some("o") => Some(Value::Path(text)),
        Some("g") => Some(Value::Signature(text)),
        Some(_) => None,
    }
}

fn plain(word: &str, wanted: Option<&str>) -> Option<Value> {
    match (wanted, word) {
        (None | Some("b"), "true") => Some(Value::Bool(true)),
        (None | Some("b"), "false") => Some(Value::Bool(false)),
        (Some("y"), _) => number(word).map(Value::Byte),
        (Some("n"), _) => number(word).map(Value::I16),
        (Some("q"), _) => number(word).map(Value::U16),
        (Some("u"), _) => number(word).map(Value::U32),
        (Some("x"), _) => number(word).map(Value::I64),
        (Some("t"), _) => number(word).map(Value::U64),
        (Some("i"), _) => number(word).map(Value::I32),
        (Some("d"), _) => word.parse().ok().map(Value::Double),
        (None, _) if word.contains(['.', 'e', 'E']) && !word.starts_with("0x") => word.parse().ok().map(Value::Double),
        (None, _) => number(word).map(Value::I32),
        _ => None,
    }
}

/// Decimal, or `0x` and hexadecimal.
fn number<N: TryFrom<i128>>(word: &str) -> Option<N> {
    let number = match word.strip_prefix("0x") {
        Some(digits) => i128::from_str_radix(digits, 16),
        None => word.parse(),
    };
    N::try_from(number.ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Value) {
        assert_eq!(parse(text), Some(expect), "{text}");
    }

    #[test]
    fn plain_values_and_those_with_a_type() {
        check("true", Value::Bool(true));
        check("'control-group'", Value::text("control-group"));
        check("\"it's\"", Value::text("it's"));
        check("7", Value::I32(7));
        check("uint64 123456789", Value::U64(123_456_789));
        check("int64 -1", Value::I64(-1));
        check("1.5", Value::Double(1.5));
        check("0x10", Value::I32(16));
        check("objectpath '/a'", Value::Path("/a".into()));
    }

    #[test]
    fn lists() {
        check(
            "['a.service', 'b.service']",
            Value::Array("s".into(), vec![Value::text("a.service"), Value::text("b.service")]),
        );
        check("@as []", Value::Array("s".into(), vec![]));
        check("[uint32 1, 2]", Value::Array("u".into(), vec![Value::U32(1), Value::U32(2)]));
        check(
            "[('a', uint64 1)]",
            Value::Array("(st)".into(), vec![Value::Struct(vec![Value::text("a"), Value::U64(1)])]),
        );
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for text in ["", "[", "[]", "'a", "uint32 -1", "uint32 'a'", "a", "1 2", "[1, 'a']", "boolean 1", "(1", "@as 7"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
