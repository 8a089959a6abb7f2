//! Containers, images and disk usage as rows with docker's fields.

use knarr_engine::image::df::Usage;
use knarr_engine::{Container, ImageRecord, Status, time};
use knarr_spec::Reference;
use serde_json::{Value, json};

use crate::listing::Columns;
use crate::units::{duration, size};

/// `ps`.
pub(crate) const CONTAINERS: Columns = Columns {
    titles: &[
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("RunningFor", "CREATED"),
        ("Status", "STATUS"),
        ("State", "STATE"),
        ("Ports", "PORTS"),
        ("Names", "NAMES"),
        ("Size", "SIZE"),
        ("Labels", "LABELS"),
        ("Label", ""),
        ("Mounts", "MOUNTS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Networks", "NETWORKS"),
        ("Platform", "PLATFORM"),
    ],
    default: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}",
    quiet: "ID",
    raw: "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\nstate: {{.State}}\nstatus: {{.Status}}\nnames: {{.Names}}\nlabels: {{.Labels}}\nports: {{.Ports}}\n",
    texts: &["COMMAND", "STATUS", "PORTS"],
};

/// `ps -s`.
pub(crate) const CONTAINERS_WITH_SIZE: Columns = Columns {
    default: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}\t{{.Size}}",
    ..CONTAINERS
};

/// `images`.
pub(crate) const IMAGES: Columns = Columns {
    titles: &[
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("Digest", "DIGEST"),
        ("ID", "IMAGE ID"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedSince", "CREATED"),
        ("Size", "SIZE"),
        ("Containers", "CONTAINERS"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
        ("VirtualSize", "SIZE"),
    ],
    default: "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
    quiet: "ID",
    raw: "repository: {{.Repository}}\ntag: {{.Tag}}\nimage_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n",
    texts: &["CREATED"],
};

/// `images --digests`.
pub(crate) const IMAGES_WITH_DIGESTS: Columns =
    Columns { default: "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}", ..IMAGES };

/// `system df`.
pub(crate) const USAGE: Columns = Columns {
    titles: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
    default: "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
    quiet: "Type",
    raw: "type: {{.Type}}\ntotal: {{.TotalCount}}\nactive: {{.Active}}\nsize: {{.Size}}\nreclaimable: {{.Reclaimable}}\n",
    texts: &[],
};

/// Docker cuts commands here.
const COMMAND_WIDTH: usize = 20;

/// One container. `bytes`, where sizes were asked for: what it wrote, and what it wrote with its image.
pub(crate) fn container(container: &Container, now_ns: u64, full: bool, bytes: Option<(u64, u64)>) -> Value {
    let (record, options) = (&container.record, &container.options);
    let id = if full { record.id.as_str() } else { container.short_id() };
    let mounts = options.mounts.iter().filter_map(|mount| match &mount.volume {
        Some(volume) => Some(volume.clone()),
        None if mount.source.as_os_str().is_empty() => None,
        None => Some(mount.source.display().to_string()),
    });
    let mounts: Vec<String> = mounts.map(|name| if full { name } else { cut(&name, 15) }).collect();
    let volumes = options.mounts.iter().filter(|mount| mount.volume.is_some()).count();
    let labels: Vec<String> = record.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let created_ns = u64::try_from(record.created_ns).unwrap_or(0);
    json!({
        "ID": id,
        "Image": record.image_name,
        "Command": format!("{:?}", command(&record.command, full)),
        "CreatedAt": timestamp(created_ns),
        "RunningFor": ago(now_ns, created_ns),
        "Status": status(container, now_ns),
        "State": state_word(container),
        "Ports": "",
        "Names": record.name,
        "Size": bytes.map_or("0B".to_owned(), |(own, all)| format!("{} (virtual {})", size(own, 3), size(all, 3))),
        "Labels": labels.join(","),
        "Label": record.labels,
        "Mounts": mounts.join(","),
        "LocalVolumes": volumes.to_string(),
        "Networks": options.wanted.namespaces.network.as_str(),
        "Platform": options.platform,
    })
}

fn command(words: &[String], full: bool) -> String {
    let text = words.join(" ");
    if full { text } else { cut(&text, COMMAND_WIDTH) }
}

/// The first `width` characters, the last of them `…` where some were left out.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

/// `created`, `running`, `exited`.
pub(crate) fn state_word(container: &Container) -> &'static str {
    match container.state.status {
        Status::Created => "created",
        Status::Running => "running",
        Status::Exited => "exited",
    }
}

/// `Up 2 hours`, `Exited (0) 3 minutes ago`, `Created`.
fn status(container: &Container, now_ns: u64) -> String {
    let state = &container.state;
    match state.status {
        Status::Created => "Created".to_owned(),
        Status::Running => format!("Up {}", duration(seconds_since(now_ns, state.started_at.unwrap_or(now_ns)))),
        Status::Exited => match state.finished_at {
            Some(end) => format!("Exited ({}) {}", state.exit_code, ago(now_ns, end)),
            None => format!("Exited ({})", state.exit_code),
        },
    }
}

/// The rows of one image: one per name, or one of `<none>`.
pub(crate) fn image(image: &ImageRecord, now_ns: u64, full: bool, dangling: bool) -> Vec<Value> {
    let id = if full { image.id.as_str() } else { image.id.short() };
    let created_ns = image.created.as_deref().and_then(time::parse_rfc3339);
    let row = |repository: String, tag: String, digest: String| {
        json!({
            "Repository": repository,
            "Tag": tag,
            "Digest": digest,
            "ID": id,
            "CreatedAt": created_ns.map_or("N/A".to_owned(), timestamp),
            "CreatedSince": created_ns.map_or("N/A".to_owned(), |created| ago(now_ns, created)),
            "Size": size(image.bytes, 3),
            "Containers": "N/A",
            "SharedSize": "N/A",
            "UniqueSize": "N/A",
            "VirtualSize": size(image.bytes, 3),
        })
    };
    let none = || "<none>".to_owned();
    let digest_of = |name: &Reference| {
        let same = image.repo_digests.iter().find(|digest| digest.name() == name.name());
        same.and_then(|digest| digest.digest()).map_or_else(none, ToString::to_string)
    };
    if !image.names.is_empty() {
        if dangling {
            return Vec::new();
        }
        let rows = image
            .names
            .iter()
            .map(|name| row(name.familiar_name(), name.tag().unwrap_or("<none>").to_owned(), digest_of(name)));
        return rows.collect();
    }
    match image.repo_digests.first() {
        Some(name) => vec![row(name.familiar_name(), none(), digest_of(name))],
        None => vec![row(none(), none(), none())],
    }
}

/// A line of `system df`.
pub(crate) fn usage(kind: &str, usage: &Usage) -> Value {
    let percent = (usage.bytes > 0).then(|| usage.reclaimable_bytes * 100 / usage.bytes);
    let reclaimable = size(usage.reclaimable_bytes, 4);
    json!({
        "Type": kind,
        "TotalCount": usage.total.to_string(),
        "Active": usage.active.to_string(),
        "Size": size(usage.bytes, 4),
        "Reclaimable": percent.map_or(reclaimable.clone(), |percent| format!("{reclaimable} ({percent}%)")),
    })
}

fn seconds_since(now_ns: u64, then_ns: u64) -> u64 {
    now_ns.saturating_sub(then_ns) / 1_000_000_000
}

pub(crate) fn ago(now_ns: u64, then_ns: u64) -> String {
    format!("{} ago", duration(seconds_since(now_ns, then_ns)))
}

/// `2026-01-02 15:04:05 +0000 UTC`.
pub(crate) fn timestamp(time_ns: u64) -> String {
    let text = time::rfc3339(time_ns);
    format!("{} {} +0000 UTC", text.get(..10).unwrap_or(""), text.get(11..19).unwrap_or(""))
}
