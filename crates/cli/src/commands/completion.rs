//! `completion`.

use crate::completion::{PROGRAMS, SHELLS, script};
use crate::failure::Failure;
use crate::output::print;
use crate::verb::Verb;
use crate::world::World;

/// Print the script that completes command lines.
#[derive(Debug, clap::Args)]
pub(crate) struct Completion {
    /// The shell the script is for
    #[arg(value_name = "SHELL", value_parser = SHELLS)]
    shell: String,
    /// Whose command line is completed: this binary by another name
    #[arg(value_name = "PROGRAM", value_parser = PROGRAMS, default_value = "knarr")]
    program: String,
}

impl Verb for Completion {
    const NAMES: &'static [&'static str] = &["completion"];
    const ABOUT: &'static str = "Print the script with which a shell completes command lines";
    const EXAMPLE: &'static str = "knarr completion bash > /usr/share/bash-completion/completions/knarr";

    fn run(self, _world: &World) -> Result<u8, Failure> {
        print(&script(&self.shell, &self.program))?;
        Ok(0)
    }
}

/// Print the script that completes skopeo's command lines.
#[derive(Debug, clap::Args)]
pub(crate) struct SkopeoCompletion {
    /// The shell the script is for
    #[arg(value_name = "SHELL", value_parser = SHELLS)]
    shell: String,
}

impl Verb for SkopeoCompletion {
    const NAMES: &'static [&'static str] = &["completion"];
    const ABOUT: &'static str = "Print the script with which a shell completes command lines";
    const EXAMPLE: &'static str = "skopeo completion bash > /usr/share/bash-completion/completions/skopeo";

    fn run(self, _world: &World) -> Result<u8, Failure> {
        print(&script(&self.shell, "skopeo"))?;
        Ok(0)
    }
}
