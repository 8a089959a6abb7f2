//! `system df`.

use knarr_engine::image::df::{DiskUsage, disk_usage};
use knarr_engine::time;
use serde_json::json;

use crate::failure::Failure;
use crate::listing::{Columns, render};
use crate::output::{inspected, print};
use crate::rows::{self, CONTAINERS, IMAGES, USAGE, usage};
use crate::units::size;
use crate::verb::Verb;
use crate::world::World;

/// Docker's columns of `system df -v`.
const IMAGES_IN_DETAIL: Columns = Columns {
    default: "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}",
    ..IMAGES
};
const CONTAINERS_IN_DETAIL: Columns = Columns {
    default: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}",
    ..CONTAINERS
};
const VOLUMES_IN_DETAIL: Columns = Columns {
    titles: &[("Name", "VOLUME NAME"), ("Links", "LINKS"), ("Size", "SIZE")],
    default: "{{.Name}}\t{{.Links}}\t{{.Size}}",
    quiet: "Name",
    raw: "",
    texts: &[],
};

/// Show what takes how much room.
#[derive(Debug, clap::Args)]
pub(crate) struct Df {
    /// A Go template, `table TEMPLATE` or `json`
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Each image, container and volume
    #[arg(long, short = 'v')]
    verbose: bool,
}

impl Verb for Df {
    const NAMES: &'static [&'static str] = &["system df"];
    const ABOUT: &'static str = "Show what takes how much room";
    const EXAMPLE: &'static str = "knarr system df -v";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let context = world.rooted()?;
        let all = disk_usage(&context)?;
        let text = match (self.verbose, self.format.as_deref()) {
            (false, format) => {
                let rows = [
                    usage("Images", &all.images),
                    usage("Containers", &all.containers),
                    usage("Local Volumes", &all.volumes),
                    usage("Other", &all.other),
                ];
                render(&USAGE, format, false, &rows, None)?
            }
            (true, None | Some("table" | "")) => in_detail(&all)?,
            (true, format) => inspected(&[as_json(&all)], format)?,
        };
        print(&text)?;
        Ok(0)
    }
}

struct Detail {
    images: Vec<serde_json::Value>,
    containers: Vec<serde_json::Value>,
    volumes: Vec<serde_json::Value>,
}

fn rows_of(all: &DiskUsage) -> Detail {
    let now = time::now_ns();
    let mut detail = Detail { images: Vec::new(), containers: Vec::new(), volumes: Vec::new() };
    for (image, own, containers) in &all.each_image {
        for mut row in rows::image(image, now, false, false) {
            row["Size"] = size(own.unique_bytes + own.shared_bytes, 3).into();
            row["SharedSize"] = size(own.shared_bytes, 3).into();
            row["UniqueSize"] = size(own.unique_bytes, 3).into();
            row["Containers"] = containers.to_string().into();
            detail.images.push(row);
        }
    }
    for (container, bytes) in &all.each_container {
        let mut row = rows::container(container, now, false, Some((*bytes, *bytes)));
        row["Size"] = size(*bytes, 3).into();
        detail.containers.push(row);
    }
    for volume in &all.each_volume {
        detail.volumes.push(json!({
            "Name": volume.name, "Links": volume.links.to_string(), "Size": size(volume.bytes, 3),
        }));
    }
    detail
}

fn in_detail(all: &DiskUsage) -> Result<String, Failure> {
    let detail = rows_of(all);
    Ok(format!(
        "Images space usage:\n\n{}\nContainers space usage:\n\n{}\nLocal Volumes space usage:\n\n{}\nOther: {}\n",
        render(&IMAGES_IN_DETAIL, None, false, &detail.images, None)?,
        render(&CONTAINERS_IN_DETAIL, None, false, &detail.containers, None)?,
        render(&VOLUMES_IN_DETAIL, None, false, &detail.volumes, None)?,
        size(all.other.bytes, 4),
    ))
}

fn as_json(all: &DiskUsage) -> serde_json::Value {
    let detail = rows_of(all);
    json!({
        "Images": detail.images, "Containers": detail.containers, "Volumes": detail.volumes, "BuildCache": [],
        "ImagesBytes": all.images.bytes, "ContainersBytes": all.containers.bytes, "VolumesBytes": all.volumes.bytes,
        "OtherBytes": all.other.bytes,
    })
}
