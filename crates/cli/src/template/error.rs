//! What can be wrong with a template.

/// A mistake, in the words of Go's package, which scripts and people know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The text is no template.
    #[error("template parsing error: template: :{line}: {message}")]
    Parse {
        /// Line of the mistake, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// The template cannot be applied to the data.
    #[error("template: :1: executing \"\" at <{at}>: {message}")]
    Execute {
        /// The expression.
        at: String,
        /// What is wrong.
        message: String,
    },
}

impl TemplateError {
    pub(super) fn execute(at: impl Into<String>, message: impl Into<String>) -> TemplateError {
        TemplateError::Execute { at: at.into(), message: message.into() }
    }
}
