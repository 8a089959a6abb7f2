//! The one error of every text parser here.

/// A value that does not follow its option's grammar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--{option}: invalid value {value:?}: {why}")]
pub struct ParseError {
    /// The long option, without dashes.
    pub option: &'static str,
    /// The value as given.
    pub value: String,
    /// What was expected.
    pub why: String,
}

impl ParseError {
    /// An error about `value` of `option`.
    pub fn new(option: &'static str, value: &str, why: impl Into<String>) -> ParseError {
        ParseError { option, value: value.to_owned(), why: why.into() }
    }
}
