//! Image documents: descriptors, manifests, indexes and configs, OCI's and Docker's v2 schema 2 alike.
//!
//! Spec: image-spec descriptor.md, manifest.md, image-index.md, config.md. The two families differ in media types only, so
//! one set of types serves both. Unknown fields are ignored here and survive in the bytes of [`crate::Raw`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{DiffId, Digest, Platform, media_type};

/// String-to-string metadata, in the order it is printed.
pub type Annotations = BTreeMap<String, String>;

/// A typed, sized, digested pointer to content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    pub media_type: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Size of the content in bytes.
    pub size: u64,
    /// Other places the content may be had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Free metadata.
    #[serde(default, skip_serializing_if = "Annotations::is_empty")]
    pub annotations: Annotations,
    /// The content itself, base64; must match digest and size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The type of the artifact this points to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// In an index: what the image runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

impl Descriptor {
    /// A descriptor with the three required fields.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size,
            urls: Vec::new(),
            annotations: Annotations::new(),
            data: None,
            artifact_type: None,
            platform: None,
        }
    }
}

/// An image manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// The manifest's own media type; OCI allows it to be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The type of an artifact packaged as a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The config blob.
    pub config: Descriptor,
    /// The layers from the base upwards.
    #[serde(default)]
    pub layers: Vec<Descriptor>,
    /// Another manifest this one refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free metadata.
    #[serde(default, skip_serializing_if = "Annotations::is_empty")]
    pub annotations: Annotations,
}

/// An image index or manifest list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// The index's own media type; OCI allows it to be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The type of an artifact packaged as an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifests, in the author's order of preference.
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
    /// Another manifest this one refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free metadata.
    #[serde(default, skip_serializing_if = "Annotations::is_empty")]
    pub annotations: Annotations,
}

impl Index {
    /// The best manifest for `wanted`; of equals the first, as the specification says. Attestations and other entries
    /// of unknown platform never match; an entry without a platform matches only if nothing else does.
    pub fn choose(&self, wanted: &Platform) -> Option<&Descriptor> {
        let fitting = self.manifests.iter().filter_map(|descriptor| {
            let rank = match &descriptor.platform {
                Some(platform) => wanted.preference(platform)?,
                None => u8::MAX,
            };
            Some((rank, descriptor))
        });
        fitting.min_by_key(|(rank, _)| *rank).map(|(_, descriptor)| descriptor)
    }
}

/// An image config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// When the image was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// What it runs on.
    #[serde(flatten)]
    pub platform: Platform,
    /// How a container of it starts.
    #[serde(default, deserialize_with = "null_as_default")]
    pub config: ContainerConfig,
    /// What its file system is made of.
    pub rootfs: RootFs,
    /// How each layer came to be.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
}

/// The `config` object of an image config: defaults for a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerConfig {
    /// `user[:group]`, names or numbers.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `port[/protocol]` set, as Go's maps of empty structs.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// `NAME=value` list.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Words that come before the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Default command or arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Directories that get a volume.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, Empty>,
    /// Current directory of the process.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Free metadata.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "Annotations::is_empty")]
    pub labels: Annotations,
    /// Signal that asks the process to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Docker: seconds between the stop signal and SIGKILL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<u32>,
    /// Docker: the health check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<serde_json::Value>,
    /// Docker: instructions for images built on this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_build: Option<Vec<String>>,
    /// Docker: the shell of shell-form instructions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
}

/// The value of Go's `map[string]struct{}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// The layers of an image by their uncompressed digests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// From the base upwards.
    #[serde(default, deserialize_with = "null_as_default")]
    pub diff_ids: Vec<DiffId>,
}

/// How one layer came to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// When, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// By which command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// By whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// A remark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether this step made no layer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// Go writes nil maps and slices as `null`.
fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The media type of a manifest or index: what the document says of itself, else what its shape shows. `None` for
/// anything else, schema 1 included.
pub fn document_media_type(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape {
        schema_version: Option<u32>,
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
        config: Option<serde::de::IgnoredAny>,
    }
    let shape: Shape = serde_json::from_slice(bytes).ok()?;
    if shape.schema_version != Some(2) {
        return None;
    }
    match (shape.media_type, shape.manifests, shape.config) {
        (Some(media_type), _, _) => Some(media_type),
        (None, Some(_), None) => Some(media_type::OCI_INDEX.to_owned()),
        (None, None, Some(_)) => Some(media_type::OCI_MANIFEST.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn nulls_of_go_parse_as_empty() {
        let config: ImageConfig = serde_json::from_str(
            r#"{"architecture":"amd64","os":"linux","config":{"Env":null,"Cmd":["sh"],"Labels":null,"Volumes":null},
                "rootfs":{"type":"layers","diff_ids":null},"history":null}"#,
        )
        .unwrap();
        assert!(config.config.env.is_empty() && config.rootfs.diff_ids.is_empty());
        assert_eq!(config.config.cmd.as_deref(), Some(&["sh".to_owned()][..]));
    }

    #[test]
    fn a_negative_size_is_refused() {
        let text = format!(r#"{{"mediaType":"a/b","digest":"{DIGEST}","size":-1}}"#);
        assert!(serde_json::from_str::<Descriptor>(&text).is_err());
    }

    fn index(entries: &[Option<&str>]) -> Index {
        let manifests = entries.iter().enumerate().map(|(i, platform)| Descriptor {
            platform: platform.map(|text| text.parse().unwrap()),
            ..Descriptor::new(media_type::OCI_MANIFEST, DIGEST.parse().unwrap(), i as u64)
        });
        Index {
            schema_version: 2,
            media_type: None,
            artifact_type: None,
            manifests: manifests.collect(),
            subject: None,
            annotations: Annotations::new(),
        }
    }

    fn chosen(entries: &[Option<&str>], wanted: &str) -> Option<u64> {
        index(entries).choose(&wanted.parse().unwrap()).map(|d| d.size)
    }

    #[test]
    fn the_first_of_equal_manifests_wins() {
        assert_eq!(chosen(&[Some("linux/arm64"), Some("linux/amd64"), Some("linux/amd64")], "linux/amd64"), Some(1));
    }

    #[test]
    fn attestations_of_unknown_platform_never_match() {
        assert_eq!(chosen(&[Some("unknown/unknown")], "linux/amd64"), None);
    }

    #[test]
    fn an_entry_without_platform_is_the_last_resort() {
        assert_eq!(chosen(&[None, Some("linux/amd64")], "linux/amd64"), Some(1));
        assert_eq!(chosen(&[None], "linux/amd64"), Some(0));
    }

    #[test]
    fn a_manifest_without_media_type_is_known_by_its_shape() {
        assert_eq!(
            document_media_type(br#"{"schemaVersion":2,"manifests":[]}"#).as_deref(),
            Some(media_type::OCI_INDEX)
        );
        assert_eq!(
            document_media_type(br#"{"schemaVersion":2,"config":{}}"#).as_deref(),
            Some(media_type::OCI_MANIFEST)
        );
        assert_eq!(document_media_type(br#"{"schemaVersion":1,"fsLayers":[]}"#), None);
    }
}
