//! What a page is made from: a manifest as people want to see it.
//!
//! Law: pure. A manifest may say anything; what is not of the expected kind is left out, and sums do not overflow.

use std::collections::BTreeMap;

use serde_json::Value;

/// Most rows of one table; a manifest may name 32 768 layers.
const ROWS_MAX: usize = 500;

/// A manifest, read for showing.
#[derive(Debug, Default, PartialEq)]
pub struct Shown {
    pub artifact_type: Option<String>,
    pub subject: Option<String>,
    pub annotations: BTreeMap<String, String>,
    pub config: Option<Part>,
    pub layers: Vec<Part>,
    pub children: Vec<Part>,
    /// Rows that were too many.
    pub left_out: usize,
    /// Bytes of config and layers, as far as the manifest says them.
    pub bytes: u64,
}

/// A descriptor.
#[derive(Debug, Default, PartialEq)]
pub struct Part {
    pub digest: String,
    pub media_type: String,
    pub size: u64,
    pub platform: Option<String>,
    pub title: Option<String>,
}

/// Reads a manifest.
pub fn read(bytes: &[u8]) -> Shown {
    let document: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let list = |name: &str| document[name].as_array().cloned().unwrap_or_default();
    let layers: Vec<Part> = list("layers").iter().chain(&list("blobs")).filter_map(part).collect();
    let children: Vec<Part> = list("manifests").iter().filter_map(part).collect();
    let config = part(&document["config"]);
    let bytes = layers.iter().chain(&config).fold(0u64, |sum, part| sum.saturating_add(part.size));
    let left_out = layers.len().saturating_sub(ROWS_MAX) + children.len().saturating_sub(ROWS_MAX);
    Shown {
        artifact_type: text(&document["artifactType"]),
        subject: text(&document["subject"]["digest"]),
        annotations: annotations(&document["annotations"]),
        config,
        layers: layers.into_iter().take(ROWS_MAX).collect(),
        children: children.into_iter().take(ROWS_MAX).collect(),
        left_out,
        bytes,
    }
}

/// `os/architecture/variant` of an image's configuration, and when it was made.
pub fn config(bytes: &[u8]) -> (Option<String>, Option<String>) {
    let document: Value = serde_json::from_slice(bytes).unwrap_or_default();
    (platform(&document), text(&document["created"]))
}

/// The strings of an object.
pub fn annotations(value: &Value) -> BTreeMap<String, String> {
    let entries = value.as_object().into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).take(ROWS_MAX).collect()
}

fn part(value: &Value) -> Option<Part> {
    Some(Part {
        digest: text(&value["digest"])?,
        media_type: text(&value["mediaType"]).unwrap_or_default(),
        size: value["size"].as_u64().unwrap_or(0),
        platform: platform(&value["platform"]),
        title: text(&value["annotations"]["org.opencontainers.image.title"]),
    })
}

fn platform(value: &Value) -> Option<String> {
    let parts = ["os", "architecture", "variant"].map(|name| text(&value[name]));
    let known: Vec<String> = parts.into_iter().flatten().collect();
    (known.len() >= 2).then(|| known.join("/"))
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_index_shows_its_platforms_and_an_image_its_sum() {
        let index = read(
            br#"{"manifests":[{"digest":"d","size":5,"platform":{"os":"linux","architecture":"arm","variant":"v7"}}]}"#,
        );
        assert_eq!(index.children[0].platform.as_deref(), Some("linux/arm/v7"));
        let image = read(br#"{"config":{"digest":"c","size":1},"layers":[{"digest":"l","size":2},{"size":9}]}"#);
        assert_eq!((image.bytes, image.layers.len()), (3, 1));
        assert_eq!(
            config(br#"{"os":"linux","architecture":"amd64","created":"T"}"#),
            (Some("linux/amd64".into()), Some("T".into()))
        );
    }

    #[test]
    fn too_many_rows_are_left_out_and_sums_do_not_overflow() {
        let layer = format!(r#"{{"digest":"d","size":{}}}"#, u64::MAX);
        let shown = read(format!(r#"{{"layers":[{}]}}"#, vec![layer.as_str(); 600].join(",")).as_bytes());
        assert_eq!((shown.layers.len(), shown.left_out, shown.bytes), (500, 100, u64::MAX));
    }

    proptest! {
        #[test]
        fn no_document_brings_the_reader_down(json in "[\\[\\]{}\":,a-z0-9]{0,80}") {
            let _ = (read(json.as_bytes()), config(json.as_bytes()));
        }
    }
}
