//! The JSON of a table, which both forms share but for a few fields.
//!
//! Law: what is not known is passed over; the number of entries is bounded while they are read.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::ENTRIES_MAX;

#[derive(Serialize, Deserialize)]
pub(super) struct Document {
    pub version: u32,
    #[serde(deserialize_with = "bounded")]
    pub entries: Vec<Row>,
    #[serde(rename = "tarSplitDigest", default, skip_serializing_if = "String::is_empty")]
    pub tar_split_digest: String,
}

/// One entry, or one more chunk of the file before it.
#[derive(Serialize, Deserialize, Default, Clone)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Row {
    #[serde(rename = "type")]
    pub kind: String,
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub link_name: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub mode: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub size: u64,
    pub uid: u64,
    pub gid: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub modtime: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub dev_major: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub dev_minor: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", skip_deserializing)]
    pub xattrs: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub digest: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub offset: u64,
    /// zstd:chunked's.
    #[serde(skip_serializing_if = "is_zero")]
    pub end_offset: u64,
    /// eStargz's: bytes to pass over in the gzip member at `offset`.
    #[serde(skip_serializing_if = "is_zero")]
    pub inner_offset: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub chunk_size: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub chunk_offset: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub chunk_digest: String,
    /// zstd:chunked's: `zeros`, or nothing for data.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub chunk_type: String,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn bounded<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Row>, D::Error> {
    struct Rows;
    impl<'de> Visitor<'de> for Rows {
        type Value = Vec<Row>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of entries")
        }

        fn visit_unit<E>(self) -> Result<Vec<Row>, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Row>, A::Error> {
            let mut rows = Vec::new();
            while let Some(row) = list.next_element()? {
                if rows.len() == ENTRIES_MAX {
                    return Err(A::Error::custom(format_args!("more than {ENTRIES_MAX} entries")));
                }
                rows.push(row);
            }
            Ok(rows)
        }
    }
    from.deserialize_any(Rows)
}
