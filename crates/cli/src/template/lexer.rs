//! Template text to tokens.

use super::error::TemplateError;

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    /// Text outside of actions.
    Text(String),
    /// `{{`
    Open,
    /// `}}`
    Close,
    /// `.A.B`, or `.` alone for no names.
    Field(Vec<String>),
    /// `.A` directly behind `)` or a variable.
    Chain(Vec<String>),
    /// `$x`
    Variable(String),
    /// A keyword or function name.
    Word(String),
    /// A quoted or raw string.
    Literal(String),
    /// A whole number or character.
    Integer(i64),
    /// A number with point or exponent.
    Float(f64),
    /// `|`
    Pipe,
    /// `(`
    Left,
    /// `)`
    Right,
    /// `:=`
    Declare,
    /// `=`
    Assign,
    /// `,`
    Comma,
}

/// Splits `text`; each token comes with its line.
pub fn lex(text: &str) -> Result<Vec<(Token, usize)>, TemplateError> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut line = 1;
    let mut trim_next = false;
    loop {
        let Some(open) = rest.find("{{") else {
            push_text(&mut tokens, rest, trim_next, false, line);
            return Ok(tokens);
        };
        let (before, action) = (&rest[..open], &rest[open + 2..]);
        let trims_left = action.starts_with("- ") || action.starts_with("-\t") || action.starts_with("-\n");
        push_text(&mut tokens, before, trim_next, trims_left, line);
        line += newlines(before);
        let action = if trims_left { &action[1..] } else { action };
        let (after, trims_right, action_lines) = match comment(action) {
            Some((after, trims_right)) => (after, trims_right, newlines(&action[..action.len() - after.len()])),
            None => {
                tokens.push((Token::Open, line));
                let mut scanner = Scanner { rest: action, line, tokens: &mut tokens };
                let trims_right = scanner.action()?;
                (scanner.rest, trims_right, scanner.line - line)
            }
        };
        line += action_lines;
        trim_next = trims_right;
        rest = after;
    }
}

fn newlines(text: &str) -> usize {
    text.matches('\n').count()
}

fn push_text(tokens: &mut Vec<(Token, usize)>, text: &str, trim_start: bool, trim_end: bool, line: usize) {
    let text = if trim_start { text.trim_start() } else { text };
    let text = if trim_end { text.trim_end() } else { text };
    if !text.is_empty() {
        tokens.push((Token::Text(text.to_owned()), line));
    }
}

/// What follows `/* … */}}` or `/* … */ -}}`, and whether it is trimmed.
fn comment(action: &str) -> Option<(&str, bool)> {
    let body = action.trim_start().strip_prefix("/*")?;
    let (_, after) = body.split_once("*/")?;
    match after.trim_start().strip_prefix("-}}") {
        Some(after) => Some((after, true)),
        None => Some((after.trim_start().strip_prefix("}}")?, false)),
    }
}

struct Scanner<'a, 't> {
    rest: &'a str,
    line: usize,
    tokens: &'t mut Vec<(Token, usize)>,
}

impl Scanner<'_, '_> {
    fn fail<T>(&self, message: impl Into<String>) -> Result<T, TemplateError> {
        Err(TemplateError::Parse { line: self.line, message: message.into() })
    }

    fn take(&mut self, bytes: usize, token: Token) {
        self.line += newlines(&self.rest[..bytes]);
        self.rest = &self.rest[bytes..];
        self.tokens.push((token, self.line));
    }

    /// Reads up to the closing braces; whether they trim what follows.
    fn action(&mut self) -> Result<bool, TemplateError> {
        loop {
            let blank = self.rest.len() - self.rest.trim_start().len();
            self.line += newlines(&self.rest[..blank]);
            let spaced = blank > 0;
            self.rest = &self.rest[blank..];
            if spaced && self.rest.starts_with("-}}") {
                self.take(3, Token::Close);
                return Ok(true);
            }
            if self.rest.starts_with("}}") {
                self.take(2, Token::Close);
                return Ok(false);
            }
            self.token(spaced)?;
        }
    }

    fn token(&mut self, spaced: bool) -> Result<(), TemplateError> {
        let Some(first) = self.rest.chars().next() else { return self.fail("unclosed action") };
        match first {
            '|' => self.take(1, Token::Pipe),
            '(' => self.take(1, Token::Left),
            ')' => self.take(1, Token::Right),
            ',' => self.take(1, Token::Comma),
            ':' if self.rest.starts_with(":=") => self.take(2, Token::Declare),
            '=' => self.take(1, Token::Assign),
            '"' => self.quoted()?,
            '`' => self.raw()?,
            '\'' => self.character()?,
            '.' => self.field(spaced),
            '$' => {
                let name = word(&self.rest[1..]).to_owned();
                self.take(1 + name.len(), Token::Variable(name));
            }
            '0'..='9' | '-' | '+' => self.number()?,
            c if c.is_alphabetic() || c == '_' => {
                let name = word(self.rest).to_owned();
                self.take(name.len(), Token::Word(name));
            }
            other => return self.fail(format!("unexpected {other:?} in action")),
        }
        Ok(())
    }

    fn field(&mut self, spaced: bool) {
        let mut names = Vec::new();
        let mut bytes = 0;
        while let Some(after) = self.rest[bytes..].strip_prefix('.') {
            let name = word(after);
            if name.is_empty() {
                break;
            }
            names.push(name.to_owned());
            bytes += 1 + name.len();
        }
        let glued = !spaced && matches!(self.tokens.last(), Some((Token::Right | Token::Variable(_), _)));
        let token = if glued { Token::Chain(names) } else { Token::Field(names) };
        self.take(bytes.max(1), token);
    }

    fn quoted(&mut self) -> Result<(), TemplateError> {
        let mut value = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.take(at + 1, Token::Literal(value));
                    return Ok(());
                }
                '\n' => break,
                '\\' => match chars.next().and_then(|(_, c)| unescape(c)) {
                    Some(c) => value.push(c),
                    None => return self.fail("unknown escape sequence in string"),
                },
                c => value.push(c),
            }
        }
        self.fail("unterminated quoted string")
    }

    fn raw(&mut self) -> Result<(), TemplateError> {
        let Some(end) = self.rest[1..].find('`') else { return self.fail("unterminated raw quoted string") };
        let value = self.rest[1..=end].to_owned();
        self.take(end + 2, Token::Literal(value));
        Ok(())
    }

    fn character(&mut self) -> Result<(), TemplateError> {
        let mut chars = self.rest.chars().skip(1);
        let (value, bytes) = match chars.next() {
            Some('\\') => {
                let Some((c, raw)) = chars.next().and_then(|raw| Some((unescape(raw)?, raw))) else {
                    return self.fail("unknown escape sequence in character");
                };
                (c, 1 + raw.len_utf8())
            }
            Some(c) => (c, c.len_utf8()),
            None => return self.fail("unterminated character constant"),
        };
        if chars.next() != Some('\'') {
            return self.fail("unterminated character constant");
        }
        self.take(bytes + 2, Token::Integer(i64::from(u32::from(value))));
        Ok(())
    }

    fn number(&mut self) -> Result<(), TemplateError> {
        let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '-');
        let bytes = self.rest.find(|c| !part(c)).unwrap_or(self.rest.len());
        let text = self.rest[..bytes].replace('_', "");
        let integer = match text.strip_prefix("0x") {
            Some(hex) => i64::from_str_radix(hex, 16).ok(),
            None => text.parse().ok(),
        };
        match (integer, text.parse::<f64>()) {
            (Some(number), _) => self.take(bytes, Token::Integer(number)),
            (None, Ok(number)) => self.take(bytes, Token::Float(number)),
            _ => return self.fail(format!("bad number syntax: {text:?}")),
        }
        Ok(())
    }
}

fn word(text: &str) -> &str {
    &text[..text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())]
}

fn unescape(c: char) -> Option<char> {
    Some(match c {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        '\\' | '"' | '\'' => c,
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'v' => '\x0b',
        _ => return None,
    })
}
