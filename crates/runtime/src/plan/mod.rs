//! Turns a runtime-spec document into an ordered list of steps.
//!
//! Spec: runtime-spec 1.3, config.md and config-linux.md; the section is cited at each step.
//! Law: reads no file, calls no syscall, never fails halfway: a complete `Plan`, or every problem found.
//! Not here: doing the steps (`apply`), checking their order (`verify`).

use std::fmt;

use knarr_spec::runtime::Spec;

use crate::{CreateOptions, Host, Problems};

/// What will be done, by whom and in which order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The container's id.
    pub id: String,
    /// The program gets a pseudoterminal; its master is handed to the caller.
    pub terminal: bool,
}

/// The plan of a container's init.
pub fn plan(spec: &Spec, host: &Host, options: &CreateOptions) -> Result<Plan, Problems> {
    let _ = host;
    let terminal = spec.process().as_ref().and_then(|p| p.terminal()).unwrap_or(false);
    Ok(Plan { id: options.id.clone(), terminal })
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "container {}", self.id)
    }
}
