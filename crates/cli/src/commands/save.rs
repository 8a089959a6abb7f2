//! `save`.

use std::fs::File;
use std::io::{BufWriter, IsTerminal};

use knarr_engine::image::save::{self, Output};
use knarr_spec::Platform;

use crate::failure::Failure;
use crate::verb::Verb;
use crate::world::{World, current_dir};

/// Save images into one archive.
#[derive(Debug, clap::Args)]
pub(crate) struct Save {
    /// The archive; standard output without it
    #[arg(long, short = 'o', value_name = "FILE")]
    output: Option<String>,
    /// Only this platform (os/arch[/variant])
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Name or id; a name without tag means all tags of it
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

impl Verb for Save {
    const NAMES: &'static [&'static str] = &["save", "image save"];
    const ABOUT: &'static str = "Save images into one archive";
    const EXAMPLE: &'static str = "knarr save -o app.tar app:v1 app:v2";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let platform = self.platform.as_deref().map(str::parse::<Platform>).transpose();
        let platform = platform.map_err(|error| Failure::usage(error.to_string()))?;
        if self.output.is_none() && std::io::stdout().is_terminal() {
            let failure = Failure::new("cowardly refusing to save to a terminal");
            return Err(failure.hint("use the -o flag or redirect"));
        }
        let context = world.rooted()?;
        let plan = save::plan(&context, &self.images, platform.as_ref())?;
        let to = match &self.output {
            None => Output::Stream(Box::new(BufWriter::new(std::io::stdout()))),
            Some(path) => Output::File(current_dir().join(path)),
        };
        save::write(&context, &plan, to)?;
        Ok(0)
    }
}

/// Writes a file that is there only when it is complete. What is no ordinary file is written to as it is.
pub(crate) fn written_whole(
    name: &str,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let path = current_dir().join(name);
    let special = std::fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file());
    let fresh = if special { path.clone() } else { path.with_extension(format!("knarr-{}", std::process::id())) };
    let failed = |error: std::io::Error| Failure::new(format!("{name}: {error}"));
    let mut out = BufWriter::new(File::options().write(true).create(true).truncate(true).open(&fresh).map_err(failed)?);
    let done = write(&mut out).and_then(|()| out.into_inner().map_err(|error| failed(error.into_error())));
    let done = done.and_then(|_| if special { Ok(()) } else { std::fs::rename(&fresh, &path).map_err(failed) });
    if done.is_err() && !special {
        let _ = std::fs::remove_file(&fresh);
    }
    done
}
