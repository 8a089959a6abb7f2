//! `inspect`: containers, images, or whichever of the two a name means.

use knarr_distribution::Place;
use knarr_engine::{Context, Error, Kind, container, image};
use serde_json::Value;

use super::image_copy::place;
use super::image_look::{LookFlags, look};
use crate::failure::Failure;
use crate::json;
use crate::output::{inspected, print};
use crate::verb::Verb;
use crate::world::World;

/// Show all that is known of containers or images.
#[derive(Debug, clap::Args)]
pub(crate) struct Inspect {
    /// A Go template or `json`
    #[arg(long, short = 'f', value_name = "FORMAT")]
    format: Option<String>,
    /// Sizes too
    #[arg(long, short = 's')]
    size: bool,
    /// Only a container or an image
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Name or id
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// Show all that is known of containers.
#[derive(Debug, clap::Args)]
pub(crate) struct ContainerInspect {
    /// A Go template or `json`
    #[arg(long, short = 'f', value_name = "FORMAT")]
    format: Option<String>,
    /// Sizes too
    #[arg(long, short = 's')]
    size: bool,
    /// Name or id
    #[arg(required = true, value_name = "CONTAINER")]
    names: Vec<String>,
}

/// Show all that is known of images.
#[derive(Debug, clap::Args)]
pub(crate) struct ImageInspect {
    /// A Go template or `json`
    #[arg(long, short = 'f', value_name = "FORMAT")]
    format: Option<String>,
    #[command(flatten)]
    elsewhere: LookFlags,
    /// Name or id; docker://NAME, oci:DIR … for what is elsewhere
    #[arg(required = true, value_name = "IMAGE")]
    names: Vec<String>,
}

impl Verb for Inspect {
    const NAMES: &'static [&'static str] = &["inspect"];
    const ABOUT: &'static str = "Show all that is known of containers or images";
    const EXAMPLE: &'static str = "knarr inspect --format '{{.State.ExitCode}}' web";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let context = world.reading()?;
        let kind = match self.kind.as_deref() {
            None | Some("") => None,
            Some(kind @ ("container" | "image")) => Some(kind),
            Some(other) => {
                return Err(
                    Failure::usage(format!("--type: {other:?} is not supported yet")).hint("container or image")
                );
            }
        };
        show(&self.names, self.format.as_deref(), |name| match kind {
            Some("container") => one_container(&context, name, self.size),
            Some(_) => one_image(&context, name),
            None => match one_container(&context, name, self.size) {
                Err(error) if error.kind() == Kind::NotFound => match one_image(&context, name) {
                    Err(error) if error.kind() == Kind::NotFound => Err(Trouble::Nothing(name.to_owned())),
                    other => other,
                },
                other => other,
            },
        })
    }
}

impl Verb for ContainerInspect {
    const NAMES: &'static [&'static str] = &["container inspect"];
    const ABOUT: &'static str = "";
    const EXAMPLE: &'static str = "knarr container inspect web";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let context = world.reading()?;
        show(&self.names, self.format.as_deref(), |name| one_container(&context, name, self.size))
    }
}

impl Verb for ImageInspect {
    const NAMES: &'static [&'static str] = &["image inspect"];
    const ABOUT: &'static str = "Show all that is known of images";
    const EXAMPLE: &'static str = "knarr image inspect --format '{{json .Config.Env}}' alpine";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let exact = self.elsewhere.raw || self.elsewhere.config;
        if exact || self.names.iter().any(|name| Place::has_transport(name)) {
            for name in &self.names {
                let place = match Place::has_transport(name) {
                    true => place(name)?,
                    false => Place::Local(name.clone()),
                };
                print(&look(world, &place, self.format.as_deref(), &self.elsewhere)?)?;
            }
            return Ok(0);
        }
        let context = world.reading()?;
        show(&self.names, self.format.as_deref(), |name| one_image(&context, name))
    }
}

/// Why one thing cannot be shown.
enum Trouble {
    Engine(Error),
    /// Neither container nor image.
    Nothing(String),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Engine(error)
    }
}

impl Trouble {
    fn kind(&self) -> Kind {
        match self {
            Trouble::Engine(error) => error.kind(),
            Trouble::Nothing(_) => Kind::NotFound,
        }
    }
}

/// What was found is printed, what was not is said, as docker does.
fn show(names: &[String], format: Option<&str>, one: impl Fn(&str) -> Result<Value, Trouble>) -> Result<u8, Failure> {
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        match one(name) {
            Ok(value) => found.push(value),
            Err(Trouble::Engine(error)) => failures.push(Failure::from(error)),
            Err(Trouble::Nothing(name)) => failures.push(Failure::new(format!("No such object: {name}"))),
        }
    }
    print(&inspected(&found, format)?)?;
    failures.iter().cloned().for_each(|failure| failure.of("inspect").print());
    Ok(failures.first().map_or(0, |failure| failure.code))
}

fn one_container(context: &Context, name: &str, size: bool) -> Result<Value, Trouble> {
    let found = container::find(context, name)?;
    let bytes = if size { super::ps::sizes(context, &found).ok() } else { None };
    Ok(json::container(context, &found, bytes))
}

fn one_image(context: &Context, name: &str) -> Result<Value, Trouble> {
    Ok(json::image(&image::inspect::find(context, name)?))
}
