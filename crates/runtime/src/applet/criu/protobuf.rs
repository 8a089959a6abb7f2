//! Protocol buffers, as much as criu's messages need: numbers, texts and messages within messages.
//!
//! Law: what is read is checked against what is there.

const VARINT: u64 = 0;
const BYTES: u64 = 2;

/// A message in the making.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    pub(crate) fn number(&mut self, field: u64, value: u64) -> &mut Message {
        self.varint(field << 3 | VARINT);
        self.varint(value);
        self
    }

    pub(crate) fn flag(&mut self, field: u64, value: bool) -> &mut Message {
        self.number(field, value.into())
    }

    pub(crate) fn text(&mut self, field: u64, text: &str) -> &mut Message {
        self.bytes(field, text.as_bytes())
    }

    pub(crate) fn message(&mut self, field: u64, message: &Message) -> &mut Message {
        self.bytes(field, &message.0)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) -> &mut Message {
        self.varint(field << 3 | BYTES);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// A field as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field<'b> {
    Number(u64),
    Bytes(&'b [u8]),
}

/// The fields of a message, in their order; `None` where it is none.
pub(crate) fn fields(mut bytes: &[u8]) -> Option<Vec<(u64, Field<'_>)>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let key = take_varint(&mut bytes)?;
        let field = match key & 7 {
            0 => Field::Number(take_varint(&mut bytes)?),
            1 => Field::Bytes(take(&mut bytes, 8)?),
            2 => {
                let length = usize::try_from(take_varint(&mut bytes)?).ok()?;
                Field::Bytes(take(&mut bytes, length)?)
            }
            5 => Field::Bytes(take(&mut bytes, 4)?),
            _ => return None,
        };
        all.push((key >> 3, field));
    }
    Some(all)
}

fn take<'b>(bytes: &mut &'b [u8], length: usize) -> Option<&'b [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_texts_and_messages() {
        let mut inner = Message::default();
        inner.text(2, "testing");
        let mut message = Message::default();
        message.number(1, 150).message(3, &inner).flag(12, true);
        assert_eq!(message.as_bytes(), b"\x08\x96\x01\x1a\x09\x12\x07testing\x60\x01");
        let read = fields(message.as_bytes()).unwrap();
        assert_eq!(read, [(1, Field::Number(150)), (3, Field::Bytes(inner.as_bytes())), (12, Field::Number(1))]);
    }

    #[test]
    fn what_is_cut_or_has_no_end_is_refused() {
        for bytes in [&b"\x08"[..], b"\x08\x96", b"\x1a\x09\x12", b"\x0b", &[0xff; 12]] {
            assert_eq!(fields(bytes), None);
        }
    }
}
