//! `image inspect` of what is elsewhere, and skopeo's `inspect`.

use knarr_distribution::look::{self, Looked};
use knarr_distribution::{ErrorKind, Place};
use serde::Serialize;
use serde_json::Value;

use super::image_copy::{only_side, place};
use crate::access::{self, OneSide, Tool};
use crate::failure::Failure;
use crate::output::{pretty, print};
use crate::template::Template;
use crate::verb::Verb;
use crate::world::World;

/// How an image elsewhere is looked at.
#[derive(Debug, clap::Args)]
pub(crate) struct LookFlags {
    /// Print the manifest or config exactly as it is
    #[arg(long)]
    pub raw: bool,
    /// Print the config
    #[arg(long)]
    pub config: bool,
    /// Do not ask for the repository's tags
    #[arg(long, short = 'n')]
    no_tags: bool,
    #[command(flatten)]
    side: OneSide,
    #[command(flatten)]
    tool: Tool,
}

/// Show what is known of an image that is elsewhere.
#[derive(Debug, clap::Args)]
pub(crate) struct Inspect {
    /// A Go template or `json`
    #[arg(long, short = 'f', value_name = "FORMAT")]
    format: Option<String>,
    #[command(flatten)]
    flags: LookFlags,
    /// TRANSPORT:DETAILS
    #[arg(value_name = "IMAGE-NAME")]
    image: String,
}

impl Verb for Inspect {
    const NAMES: &'static [&'static str] = &["inspect"];
    const ABOUT: &'static str = "Show what is known of an image that is elsewhere";
    const EXAMPLE: &'static str = "skopeo inspect docker://registry.example/app:1";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let text = look(world, &place(&self.image)?, self.format.as_deref(), &self.flags)?;
        print(&text)?;
        Ok(0)
    }
}

/// skopeo's view of an image, in skopeo's order.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Output {
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    digest: String,
    repo_tags: Vec<String>,
    created: Value,
    docker_version: String,
    labels: Value,
    architecture: String,
    os: String,
    layers: Vec<String>,
    layers_data: Vec<Layer>,
    env: Value,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Layer {
    #[serde(rename = "MIMEType")]
    mime_type: String,
    digest: String,
    size: u64,
    annotations: Value,
}

/// What is printed of `place`.
pub(crate) fn look(world: &World, place: &Place, format: Option<&str>, flags: &LookFlags) -> Result<String, Failure> {
    if flags.raw && format.is_some() {
        return Err(Failure::usage("raw output does not support format option"));
    }
    let options = only_side(&flags.side, &flags.tool)?;
    let deep = flags.config || !flags.raw;
    let looked = match place {
        Place::Local(_) => {
            let context = world.reading()?;
            look::inspect(Some(&context.store), place, deep, &options)
        }
        _ => look::inspect(None, place, deep, &options),
    };
    let looked = looked.map_err(access::failure)?;
    match (&looked.image, flags.raw, flags.config) {
        (_, true, false) => Ok(text(looked.root)),
        (Some((_, config)), true, true) => Ok(text(config.clone())),
        (Some((_, config)), false, true) => {
            let config: Value = serde_json::from_slice(config)
                .map_err(|error| Failure::new(format!("Error reading OCI-formatted configuration data: {error}")))?;
            shown(&config, format)
        }
        (Some(_), false, false) => {
            let tags = tags(place, flags, &options.source)?;
            shown(&output(place, &looked, tags)?, format)
        }
        (None, ..) => unreachable!("asked for deeply unless it is raw"),
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn shown(value: &impl Serialize, format: Option<&str>) -> Result<String, Failure> {
    match format {
        None | Some("" | "json") => Ok(pretty(value) + "\n"),
        Some(format) => {
            let template = Template::parse(&format.replace("\\t", "\t").replace("\\n", "\n"))?;
            let value = serde_json::to_value(value).expect("strings and numbers");
            Ok(template.render(&value)? + "\n")
        }
    }
}

/// Some registries let nobody list tags; that does not hide the image.
fn tags(place: &Place, flags: &LookFlags, network: &knarr_distribution::Network) -> Result<Vec<String>, Failure> {
    match place {
        Place::Registry(reference) if !flags.no_tags => match look::list_tags(reference, network) {
            Ok(tags) => Ok(tags),
            Err(error) if matches!(error.kind(), ErrorKind::Unauthorized | ErrorKind::NotFound) => {
                anstream::eprintln!(
                    "{}",
                    crate::failure::log_line("warning", "\"Registry disallows tag list retrieval; skipping\"")
                );
                Ok(Vec::new())
            }
            Err(error) => Err(access::failure(error)),
        },
        _ => Ok(Vec::new()),
    }
}

fn output(place: &Place, looked: &Looked, repo_tags: Vec<String>) -> Result<Output, Failure> {
    let (manifest, config) = looked.image.as_ref().expect("looked at deeply");
    let config: Value = serde_json::from_slice(config)
        .map_err(|error| Failure::new(format!("Error parsing the image's configuration: {error}")))?;
    let field = |name: &str| config[name].as_str().unwrap_or_default().to_owned();
    let layers = manifest.layers.iter().map(|layer| Layer {
        mime_type: layer.media_type.clone(),
        digest: layer.digest.to_string(),
        size: layer.size,
        annotations: match layer.annotations.is_empty() {
            true => Value::Null,
            false => serde_json::to_value(&layer.annotations).expect("strings"),
        },
    });
    let name = match place {
        Place::Registry(reference) => reference.name(),
        _ => String::new(),
    };
    Ok(Output {
        name,
        digest: looked.digest.to_string(),
        repo_tags,
        created: config["created"].clone(),
        docker_version: field("docker_version"),
        labels: config["config"]["Labels"].clone(),
        architecture: field("architecture"),
        os: field("os"),
        layers: manifest.layers.iter().map(|layer| layer.digest.to_string()).collect(),
        layers_data: layers.collect(),
        env: config["config"]["Env"].clone(),
    })
}
