//! What is wrong with a configuration.
//!
//! Law: the whole document is looked at; every problem is reported, not only the first.

use std::fmt;

/// Every problem found in one configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// One problem: where in the document, and what.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A property the operation cannot do without.
    #[error("{at}: is required")]
    Missing {
        /// The place in the document, as `process.args`.
        at: String,
    },
    /// A value outside of what the specification or the kernel takes.
    #[error("{at}: {value:?} {rule}")]
    Invalid {
        /// The place in the document.
        at: String,
        /// As found.
        value: String,
        /// What it should have been, as `must be absolute`.
        rule: &'static str,
    },
    /// Two entries that exclude each other.
    #[error("{at}: {value:?} is given twice")]
    Duplicate {
        /// The place in the document.
        at: String,
        /// As found.
        value: String,
    },
    /// A memory policy the kernel would not take.
    #[error("linux.memoryPolicy: {0}")]
    MemoryPolicy(String),
    /// Something that needs another property.
    #[error("{at}: {value:?} needs {needs}")]
    Needs {
        /// The place in the document.
        at: String,
        /// As found.
        value: String,
        /// What is missing, as `a new network namespace`.
        needs: &'static str,
    },
    /// Something this machine does not have.
    #[error("{at}: {value:?} needs {needs}, which this kernel lacks")]
    Host {
        /// The place in the document.
        at: String,
        /// As found.
        value: String,
        /// What the machine lacks, as `SELinux`.
        needs: &'static str,
    },
    /// A part of the specification this runtime does not do; better refused than left out in silence.
    #[error("{at}: is not supported")]
    Unsupported {
        /// The place in the document.
        at: &'static str,
    },
    /// The seccomp profile does not compile.
    #[error("linux.{0}")]
    Seccomp(String),
}
