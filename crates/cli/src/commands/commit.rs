//! `commit`.

use knarr_engine::container::commit::{CommitWanted, commit};

use crate::failure::Failure;
use crate::output::print;
use crate::verb::Verb;
use crate::world::World;

/// Make an image of what a container changed.
#[derive(Debug, clap::Args)]
pub(crate) struct Commit {
    /// Whose work it is
    #[arg(long, short = 'a', value_name = "NAME")]
    author: Option<String>,
    /// Change the image's config in Dockerfile words
    #[arg(long, short = 'c', value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// A remark for the history
    #[arg(long, short = 'm', value_name = "TEXT")]
    message: Option<String>,
    /// Let the container's processes stand still meanwhile
    #[arg(long, short = 'p', value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set)]
    pause: bool,
    /// Docker's newer word for --pause=false
    #[arg(long)]
    no_pause: bool,
    /// Name or id
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// The image's name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

impl Verb for Commit {
    const NAMES: &'static [&'static str] = &["commit", "container commit"];
    const ABOUT: &'static str = "Make an image of what a container changed";
    const EXAMPLE: &'static str = "knarr commit -m 'add tools' -c 'CMD [\"tool\"]' web web:v2";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let name = self.name.as_deref().map(str::parse).transpose();
        let name = name.map_err(|error: knarr_spec::ReferenceError| Failure::usage(error.to_string()))?;
        let wanted = CommitWanted {
            author: self.author,
            message: self.message,
            changes: self.change,
            running: !self.pause || self.no_pause,
            name,
        };
        let context = world.rooted()?;
        let image = commit(&context, &self.container, &wanted)?;
        print(&format!("{}\n", image.id))?;
        Ok(0)
    }
}
