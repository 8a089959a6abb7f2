//! `image tree` and `image mount`.

use knarr_engine::ImageRecord;
use knarr_engine::image::tree::{Layer, layers, mounts, what_requires};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{inspected, print};
use crate::units::size;
use crate::verb::Verb;
use crate::world::World;

/// Digits of a layer's id, as podman shows it.
const ID_DIGITS: usize = 12;

/// Show the layers of an image.
#[derive(Debug, clap::Args)]
pub(crate) struct ImageTree {
    /// A Go template or `json`
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Images that stand on this one too
    #[arg(long)]
    whatrequires: bool,
    /// Name or id
    #[arg(value_name = "IMAGE")]
    image: String,
}

/// Show what to mount to see an image's files.
#[derive(Debug, clap::Args)]
pub(crate) struct ImageMount {
    /// A Go template or `json`
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Name or id
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

impl Verb for ImageTree {
    const NAMES: &'static [&'static str] = &["image tree"];
    const ABOUT: &'static str = "Show the layers of an image";
    const EXAMPLE: &'static str = "knarr image tree app";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let context = world.reading()?;
        let (image, list) = layers(&context, &self.image)?;
        let above = if self.whatrequires { what_requires(&context, &image)? } else { Vec::new() };
        match self.format.as_deref() {
            None => print(&drawn(&image, &list, &above))?,
            format => print(&inspected(&[as_json(&image, &list, &above)], format)?)?,
        }
        Ok(0)
    }
}

fn names(image: &ImageRecord) -> Vec<String> {
    image.names.iter().map(ToString::to_string).collect()
}

/// As podman draws it.
fn drawn(image: &ImageRecord, list: &[Layer], above: &[ImageRecord]) -> String {
    let mut text = format!("Image ID: {}\nTags:     [{}]\n", image.id.short(), names(image).join(" "));
    text += &format!("Size:     {}\n", size(image.bytes, 4));
    text += if list.is_empty() { "No Image Layers\n" } else { "Image Layers\n" };
    for (at, layer) in list.iter().enumerate() {
        let branch = if at + 1 < list.len() { "├──" } else { "└──" };
        let id: String = layer.chain.chars().take(ID_DIGITS).collect();
        text += &format!("{branch} ID: {id} Size: {:>7}", size(layer.bytes, 4));
        if !layer.top_of.is_empty() {
            text += &format!(" Top Layer of: [{}]", layer.top_of.join(" "));
        }
        text.push('\n');
    }
    for other in above {
        text += &format!("Required by: {} [{}]\n", other.id.short(), names(other).join(" "));
    }
    text
}

fn as_json(image: &ImageRecord, list: &[Layer], above: &[ImageRecord]) -> Value {
    let layer = |layer: &Layer| json!({"ID": layer.chain, "Size": layer.bytes, "TopLayerOf": layer.top_of});
    let other = |other: &ImageRecord| json!({"ID": other.id.as_str(), "Tags": names(other)});
    json!({
        "ID": image.id.as_str(),
        "Tags": names(image),
        "Size": image.bytes,
        "Layers": list.iter().map(layer).collect::<Vec<_>>(),
        "RequiredBy": above.iter().map(other).collect::<Vec<_>>(),
    })
}

impl Verb for ImageMount {
    const NAMES: &'static [&'static str] = &["image mount"];
    const ABOUT: &'static str = "Show what to mount to see an image's files";
    const EXAMPLE: &'static str = "knarr image mount app";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let context = world.rooted()?;
        let mut list = Vec::new();
        for name in &self.images {
            let mounts = mounts(&context, name)?;
            let lower: Vec<String> =
                mounts.lower.iter().map(|layer| mounts.base.join(layer).display().to_string()).collect();
            let userxattr = if mounts.userxattr { "userxattr," } else { "" };
            let options = format!("ro,{userxattr}lowerdir={}", lower.join(":"));
            match self.format.as_deref() {
                None if lower.len() == 1 => print(&format!("mount --bind -o ro {} DIRECTORY\n", lower[0]))?,
                None => print(&format!("mount -t overlay overlay -o {options} DIRECTORY\n"))?,
                Some(_) => list.push(json!({"Image": name, "Type": "overlay", "Options": options, "Lower": lower})),
            }
        }
        match self.format.as_deref() {
            // One list, as podman prints it.
            Some("json") => print(&format!("{}\n", serde_json::Value::from(list)))?,
            Some(format) => print(&inspected(&list, Some(format))?)?,
            None => world.note("nothing was mounted: knarr mounts nothing outside of containers"),
        }
        Ok(0)
    }
}
