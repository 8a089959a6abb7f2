//! A value of D-Bus, and its signature.

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `y`
    Byte(u8),
    /// `b`
    Bool(bool),
    /// `n`
    I16(i16),
    /// `q`
    U16(u16),
    /// `i`
    I32(i32),
    /// `u`
    U32(u32),
    /// `x`
    I64(i64),
    /// `t`
    U64(u64),
    /// `d`
    Double(f64),
    /// `s`
    Str(String),
    /// `o`
    Path(String),
    /// `g`
    Signature(String),
    /// `v`
    Variant(Box<Value>),
    /// `a…`: the elements' signature, and they.
    Array(String, Vec<Value>),
    /// `(…)`
    Struct(Vec<Value>),
}

impl Value {
    /// Text.
    pub fn text(text: impl Into<String>) -> Value {
        Value::Str(text.into())
    }

    /// Its signature.
    pub fn signature(&self) -> String {
        match self {
            Value::Byte(_) => "y".into(),
            Value::Bool(_) => "b".into(),
            Value::I16(_) => "n".into(),
            Value::U16(_) => "q".into(),
            Value::I32(_) => "i".into(),
            Value::U32(_) => "u".into(),
            Value::I64(_) => "x".into(),
            Value::U64(_) => "t".into(),
            Value::Double(_) => "d".into(),
            Value::Str(_) => "s".into(),
            Value::Path(_) => "o".into(),
            Value::Signature(_) => "g".into(),
            Value::Variant(_) => "v".into(),
            Value::Array(of, _) => format!("a{of}"),
            Value::Struct(fields) => {
                let all: String = fields.iter().map(Value::signature).collect();
                format!("({all})")
            }
        }
    }

    /// The text of a string, a path or a variant of them.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(text) | Value::Path(text) => Some(text),
            Value::Variant(inner) => inner.as_str(),
            _ => None,
        }
    }
}
