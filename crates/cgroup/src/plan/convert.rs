//! From version 1's scales, which the runtime-spec uses, to version 2's.

use knarr_spec::runtime::LinuxRdma;

use super::{Line, line};
use crate::Error;

/// Shares (2 to 262144, default 1024) as weight (1 to 10000, default 100): the quadratic curve through both ends and the default
/// that runc and crun agreed on in 2025. The straight line used before gave the default container a weight of 39.
pub fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        shares => {
            let l = (shares as f64).log2();
            10f64.powf((l * l + 125.0 * l) / 612.0 - 7.0 / 34.0).ceil() as u64
        }
    }
}

/// Block weight (10 to 1000) as io.weight (1 to 10000).
pub(super) fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight).saturating_sub(10)) * 9999 / 990
}

/// The swap limit alone, from the document's sum of memory and swap; `None` leaves it as it is.
pub(crate) fn swap_alone(memory: i64, sum: i64) -> Result<Option<i64>, Error> {
    let wrong = |why| Error::Invalid { what: "linux.resources.memory.swap", value: sum.to_string(), why };
    match (memory, sum) {
        (-1, 0) => Ok(Some(-1)),
        (_, 0) => Ok(None),
        (_, -1) => Ok(Some(-1)),
        (_, ..0) => Err(wrong("is negative")),
        (-1, sum) => Ok(Some(sum)),
        (0, _) => Err(wrong("is memory and swap together, and needs a memory limit beside it")),
        (memory, sum) if sum < memory => {
            Err(wrong("is memory and swap together, and cannot be below the memory limit"))
        }
        (memory, sum) => Ok(Some(sum - memory)),
    }
}

/// Bytes for a version 2 file: -1 is "max", 0 leaves it as it is.
pub(super) fn bytes(what: &'static str, value: Option<i64>) -> Result<Option<String>, Error> {
    match value {
        None | Some(0) => Ok(None),
        Some(-1) => Ok(Some("max".into())),
        Some(value @ 1..) => Ok(Some(value.to_string())),
        Some(value) => Err(Error::Invalid { what, value: value.to_string(), why: "is negative" }),
    }
}

/// One device's limits; both versions have the same file.
pub(super) fn rdma(device: &str, limit: &LinuxRdma) -> Result<Vec<Line>, Error> {
    one_line("linux.resources.rdma", device)?;
    let part = |name: &str, value: Option<u32>| value.map(|value| format!(" {name}={value}")).unwrap_or_default();
    let limits = part("hca_handle", limit.hca_handles()) + &part("hca_object", limit.hca_objects());
    Ok(if limits.is_empty() { vec![] } else { vec![line("rdma.max", format!("{device}{limits}"))] })
}

/// A name that goes into a file must not bring lines of its own.
pub(super) fn one_line(what: &'static str, name: &str) -> Result<(), Error> {
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '/' || c == '\0') {
        return Err(Error::Invalid { what, value: name.into(), why: "is not a name" });
    }
    Ok(())
}
