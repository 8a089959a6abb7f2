//! Messages as bytes.
//!
//! ```text
//! 'l' | type u8 | flags u8 | 1 | length of the body u32 | serial u32 | fields a(yv) | padding to 8 | body
//! fields: 1 path, 2 interface, 3 member, 4 error's name, 5 serial replied to, 6 destination, 8 signature of the body
//! ```
//!
//! Law: every value begins at a multiple of its own size; what is read is checked against what is there.

use crate::Value;

pub(crate) const CALL: u8 = 1;
pub(crate) const RETURN: u8 = 2;
pub(crate) const ERROR: u8 = 3;
pub(crate) const SIGNAL: u8 = 4;

/// The longest message taken; systemd's are short.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// What comes before the fields.
pub(crate) const FIXED_BYTES: usize = 16;
/// Values within values, as the specification has it.
const DEPTH_MAX: usize = 64;

/// A message.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Message {
    pub kind: u8,
    pub serial: u32,
    pub path: Option<String>,
    pub interface: Option<String>,
    pub member: Option<String>,
    pub error: Option<String>,
    pub reply_to: Option<u32>,
    pub destination: Option<String>,
    pub body: Vec<Value>,
}

/// How many bytes a message has, seen from its first 16; `None`: it is none, or too long.
pub(crate) fn length(fixed: &[u8; FIXED_BYTES]) -> Option<usize> {
    let number = |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]) as usize;
    let (body, fields) = (number(4), number(12));
    if fixed[0] != b'l' || body > MESSAGE_BYTES_MAX || fields > MESSAGE_BYTES_MAX {
        return None;
    }
    let all = (FIXED_BYTES + fields).next_multiple_of(8) + body;
    (all <= MESSAGE_BYTES_MAX).then_some(all)
}

impl Message {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Writer::default();
        self.body.iter().for_each(|value| body.value(value));
        let signature: String = self.body.iter().map(Value::signature).collect();
        let texts = [(1, Value::Path as fn(String) -> Value, &self.path), (2, Value::Str, &self.interface)];
        let mut fields: Vec<(u8, Value)> = Vec::new();
        fields.extend(texts.into_iter().filter_map(|(code, make, text)| Some((code, make(text.clone()?)))));
        let texts = [(3, &self.member), (4, &self.error), (6, &self.destination)];
        fields.extend(texts.into_iter().filter_map(|(code, text)| Some((code, Value::Str(text.clone()?)))));
        fields.extend(self.reply_to.map(|serial| (5, Value::U32(serial))));
        fields.extend((!signature.is_empty()).then_some((8, Value::Signature(signature))));
        let mut all = Writer(vec![b'l', self.kind, 0, 1]);
        all.u32(body.0.len() as u32);
        all.u32(self.serial);
        let structs = fields
            .into_iter()
            .map(|(code, value)| Value::Struct(vec![Value::Byte(code), Value::Variant(Box::new(value))]));
        all.value(&Value::Array("(yv)".into(), structs.collect()));
        all.pad(8);
        all.0.extend(body.0);
        all.0
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Message> {
        let fixed: &[u8; FIXED_BYTES] = bytes.first_chunk()?;
        if length(fixed)? != bytes.len() {
            return None;
        }
        let mut message = Message { kind: fixed[1], ..Message::default() };
        let mut reader = Reader { bytes, at: 8 };
        message.serial = reader.u32()?;
        let Value::Array(_, fields) = reader.value(&mut &b"a(yv)"[..], 0)? else { return None };
        let mut signature = String::new();
        for field in fields {
            let Value::Struct(parts) = field else { return None };
            let [Value::Byte(code), Value::Variant(value)] = &parts[..] else { return None };
            match (code, &**value) {
                (1, Value::Path(text)) => message.path = Some(text.clone()),
                (2, Value::Str(text)) => message.interface = Some(text.clone()),
                (3, Value::Str(text)) => message.member = Some(text.clone()),
                (4, Value::Str(text)) => message.error = Some(text.clone()),
                (5, Value::U32(serial)) => message.reply_to = Some(*serial),
                (6, Value::Str(text)) => message.destination = Some(text.clone()),
                (8, Value::Signature(text)) => signature.clone_from(text),
                _ => {}
            }
        }
        reader.pad(8)?;
        // Values are aligned within the message, and the body begins at a multiple of eight.
        let mut rest = signature.as_bytes();
        while !rest.is_empty() {
            message.body.push(reader.value(&mut rest, 0)?);
        }
        (reader.at == bytes.len()).then_some(message)
    }
}

/// How a type is aligned, by the first letter of its signature.
fn alignment(of: u8) -> usize {
    match of {
        b'n' | b'q' => 2,
        b'i' | b'u' | b'b' | b's' | b'o' | b'a' => 4,
        b'x' | b't' | b'd' | b'(' | b'{' => 8,
        _ => 1,
    }
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn pad(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn u32(&mut self, number: u32) {
        self.number(4, &number.to_le_bytes());
    }

    fn number(&mut self, align: usize, bytes: &[u8]) {
        self.pad(align);
        self.0.extend(bytes);
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Byte(n) => self.0.push(*n),
            Value::Bool(b) => self.u32((*b).into()),
            Value::I16(n) => self.number(2, &n.to_le_bytes()),
            Value::U16(n) => self.number(2, &n.to_le_bytes()),
            Value::I32(n) => self.number(4, &n.to_le_bytes()),
            Value::U32(n) => self.u32(*n),
            Value::I64(n) => self.number(8, &n.to_le_bytes()),
            Value::U64(n) => self.number(8, &n.to_le_bytes()),
            Value::Double(n) => self.number(8, &n.to_le_bytes()),
            Value::Str(text) | Value::Path(text) => {
                self.u32(text.len() as u32);
                self.0.extend(text.as_bytes());
                self.0.push(0);
            }
            Value::Signature(text) => self.signature(text),
            Value::Variant(inner) => {
                self.signature(&inner.signature());
                self.value(inner);
            }
            Value::Array(of, elements) => {
                self.u32(0);
                let length_at = self.0.len() - 4;
                self.pad(alignment(of.bytes().next().unwrap_or(b'y')));
                let begin = self.0.len();
                elements.iter().for_each(|element| self.value(element));
                let length = (self.0.len() - begin) as u32;
                self.0[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
            }
            Value::Struct(fields) => {
                self.pad(8);
                fields.iter().for_each(|field| self.value(field));
            }
        }
    }

    fn signature(&mut self, text: &str) {
        self.0.push(text.len() as u8);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Reader<'_> {
    fn pad(&mut self, to: usize) -> Option<()> {
        let next = self.at.next_multiple_of(to);
        let padding = self.bytes.get(self.at..next)?;
        self.at = next;
        padding.iter().all(|byte| *byte == 0).then_some(())
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.pad(N)?;
        let taken = self.bytes.get(self.at..self.at + N)?.try_into().ok();
        self.at += N;
        taken
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    /// So many bytes of text and the 0 behind them.
    fn text(&mut self, length: usize) -> Option<String> {
        let end = self.at.checked_add(length)?;
        let text = String::from_utf8(self.bytes.get(self.at..end)?.to_vec()).ok()?;
        let ended = self.bytes.get(end) == Some(&0);
        self.at = end + 1;
        ended.then_some(text)
    }

    fn short_text(&mut self) -> Option<String> {
        let [length] = self.take()?;
        self.text(length.into())
    }

    /// Reads the value the front of `signature` speaks of, and takes that away.
    fn value(&mut self, signature: &mut &[u8], depth: usize) -> Option<Value> {
        if depth > DEPTH_MAX {
            return None;
        }
        let (&letter, rest) = signature.split_first()?;
        *signature = rest;
        Some(match letter {
            b'y' => Value::Byte(self.take::<1>()?[0]),
            b'b' => Value::Bool(self.u32()? != 0),
            b'n' => Value::I16(self.take().map(i16::from_le_bytes)?),
            b'q' => Value::U16(self.take().map(u16::from_le_bytes)?),
            b'i' => Value::I32(self.take().map(i32::from_le_bytes)?),
            // A descriptor is told by its number beside the message; we ask for none.
            b'u' | b'h' => Value::U32(self.u32()?),
            b'x' => Value::I64(self.take().map(i64::from_le_bytes)?),
            b't' => Value::U64(self.take().map(u64::from_le_bytes)?),
            b'd' => Value::Double(self.take().map(f64::from_le_bytes)?),
            b's' | b'o' => {
                let length = self.u32()? as usize;
                let text = self.text(length)?;
                if letter == b's' { Value::Str(text) } else { Value::Path(text) }
            }
            b'g' => Value::Signature(self.short_text()?),
            b'v' => {
                let inner = self.short_text()?;
                let mut inner = inner.as_bytes();
                let value = self.value(&mut inner, depth + 1)?;
                inner.is_empty().then(|| Value::Variant(Box::new(value)))?
            }
            b'a' => {
                let of = one(signature)?;
                *signature = &signature[of.len()..];
                let length = self.u32()? as usize;
                self.pad(alignment(of[0]))?;
                let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len())?;
                let mut elements = Vec::new();
                while self.at < end {
                    let before = self.at;
                    elements.push(self.value(&mut &of[..], depth + 1)?);
                    (self.at > before).then_some(())?;
                }
                (self.at == end).then_some(())?;
                Value::Array(String::from_utf8(of.to_vec()).ok()?, elements)
            }
            b'(' | b'{' => {
                self.pad(8)?;
                let mut fields = Vec::new();
                while !matches!(signature.first()?, b')' | b'}') {
                    fields.push(self.value(signature, depth + 1)?);
                }
                *signature = &signature[1..];
                Value::Struct(fields)
            }
            _ => return None,
        })
    }
}

/// The first complete type of a signature.
fn one(signature: &[u8]) -> Option<&[u8]> {
    let mut depth = 0usize;
    for (at, letter) in signature.iter().enumerate() {
        match letter {
            b'a' => continue,
            b'(' | b'{' => depth += 1,
            b')' | b'}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some(&signature[..=at]);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Message {
        let property = |name: &str, value| Value::Struct(vec![Value::text(name), Value::Variant(Box::new(value))]);
        Message {
            kind: CALL,
            serial: 7,
            path: Some("/org/freedesktop/systemd1".into()),
            interface: Some("org.freedesktop.systemd1.Manager".into()),
            member: Some("StartTransientUnit".into()),
            destination: Some("org.freedesktop.systemd1".into()),
            body: vec![
                Value::text("x.scope"),
                Value::text("replace"),
                Value::Array(
                    "(sv)".into(),
                    vec![
                        property("PIDs", Value::Array("u".into(), vec![Value::U32(4711)])),
                        property("Delegate", Value::Bool(true)),
                        property("MemoryMax", Value::U64(u64::MAX)),
                    ],
                ),
                Value::Array("(sa(sv))".into(), vec![]),
            ],
            ..Message::default()
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let message = sample();
        assert_eq!(Message::decode(&message.encode()).as_ref(), Some(&message));
    }

    #[test]
    fn a_call_is_laid_out_as_the_specification_shows_it() {
        let hello =
            Message { kind: CALL, serial: 1, path: Some("/a".into()), member: Some("B".into()), ..Message::default() };
        let expect = b"l\x01\0\x01\0\0\0\0\x01\0\0\0\x1a\0\0\0\x01\x01o\0\x02\0\0\0/a\0\0\0\0\0\0\x03\x01s\0\x01\0\0\0B\0\0\0\0\0\0\0";
        assert_eq!(hello.encode(), expect);
    }

    #[test]
    fn no_cut_and_no_changed_byte_is_a_surprise() {
        let bytes = sample().encode();
        for length in 0..bytes.len() {
            assert_eq!(Message::decode(&bytes[..length]), None);
        }
        for at in 0..bytes.len() {
            for flip in [1, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                let _ = Message::decode(&changed);
            }
        }
    }

    #[test]
    fn a_signature_without_end_is_no_type() {
        assert_eq!(one(b"aa(sv)s"), Some(&b"aa(sv)"[..]));
        assert_eq!(one(b"a("), None);
        assert_eq!(one(b")"), None);
    }
}
