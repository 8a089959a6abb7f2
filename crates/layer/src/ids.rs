//! Which numeric owners of a layer exist in the user namespace we stand in, and what they are called there.

use crate::Refusal;

/// Consecutive ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// First id as the layer writes it.
    pub layer: u32,
    /// First id as `chown(2)` of this process takes it.
    pub here: u32,
    /// How many.
    pub count: u32,
}

/// The owners a layer may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMap {
    /// Users.
    pub uids: Vec<IdRange>,
    /// Groups.
    pub gids: Vec<IdRange>,
}

/// Every id but the last, which `chown(2)` reads as "leave it".
const ALL: IdRange = IdRange { layer: 0, here: 0, count: u32::MAX };

impl IdMap {
    /// Layer ids as they are, all of them: for root of the first user namespace.
    pub fn identity() -> IdMap {
        IdMap { uids: vec![ALL], gids: vec![ALL] }
    }

    /// Layer ids as they are, as far as the user namespace has them: `uid_map` and `gid_map` are the texts of
    /// `/proc/self/uid_map` and `/proc/self/gid_map`. Lines that are none are passed over.
    pub fn of_namespace(uid_map: &str, gid_map: &str) -> IdMap {
        IdMap { uids: mapped_ids(uid_map), gids: mapped_ids(gid_map) }
    }

    /// The user of a layer as `chown(2)` takes it; refused where it has no name here.
    pub fn uid(&self, layer: u64) -> Result<u32, Refusal> {
        map(&self.uids, layer).ok_or_else(|| unmapped("uid", layer, &self.uids))
    }

    /// The group of a layer as `chown(2)` takes it; refused where it has no name here.
    pub fn gid(&self, layer: u64) -> Result<u32, Refusal> {
        map(&self.gids, layer).ok_or_else(|| unmapped("gid", layer, &self.gids))
    }

    /// The user as a layer writes it; `None` where no layer has a name for it.
    pub fn layer_uid(&self, here: u32) -> Option<u32> {
        unmap(&self.uids, here)
    }

    /// The group as a layer writes it; `None` where no layer has a name for it.
    pub fn layer_gid(&self, here: u32) -> Option<u32> {
        unmap(&self.gids, here)
    }

    /// Whether ids keep their number, so that ACLs need no rewriting.
    pub fn keeps_numbers(&self) -> bool {
        self.uids.iter().chain(&self.gids).all(|range| range.layer == range.here)
    }
}

fn map(ranges: &[IdRange], id: u64) -> Option<u32> {
    let id = u32::try_from(id).ok()?;
    let range = ranges.iter().find(|range| id >= range.layer && id - range.layer < range.count)?;
    Some(range.here + (id - range.layer))
}

fn unmap(ranges: &[IdRange], id: u32) -> Option<u32> {
    let range = ranges.iter().find(|range| id >= range.here && id - range.here < range.count)?;
    Some(range.layer + (id - range.here))
}

/// Lines of `user_namespaces(7)`: first id inside, first id outside, count.
fn mapped_ids(text: &str) -> Vec<IdRange> {
    let range = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map(|word| word.parse::<u32>().ok());
        let (inside, _outside, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
        Some(IdRange { layer: inside, here: inside, count })
    };
    text.lines().filter_map(range).collect()
}

fn unmapped(kind: &'static str, id: u64, ranges: &[IdRange]) -> Refusal {
    let last = |range: &IdRange| u64::from(range.layer) + u64::from(range.count) - 1;
    let texts: Vec<String> = ranges.iter().map(|range| format!("{}-{}", range.layer, last(range))).collect();
    let count = ranges.iter().map(|range| u64::from(range.count)).sum();
    Refusal::UnmappedOwner { kind, id, count, ranges: texts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_has_every_id_but_minus_one() {
        let map = IdMap::identity();
        assert_eq!(map.uid(0), Ok(0));
        assert_eq!(map.gid(u64::from(u32::MAX) - 1), Ok(u32::MAX - 1));
        assert!(map.uid(u64::from(u32::MAX)).is_err());
        assert!(map.uid(1 << 32).is_err());
    }

    #[test]
    fn a_namespace_has_what_its_map_says() {
        let map =
            IdMap::of_namespace("         0       1000          1\n         1     100000      65536\n", "0 0 1\n");
        assert_eq!((map.uid(0), map.uid(65536), map.gid(0)), (Ok(0), Ok(65536), Ok(0)));
        assert!(map.keeps_numbers());
        assert_eq!(
            map.uid(70000).unwrap_err().to_string(),
            "the layer owns it by uid 70000, outside of the 65537 ids mapped: 0-0, 1-65536"
        );
        assert!(map.gid(1).is_err());
    }

    #[test]
    fn a_shifted_range_moves_numbers() {
        let range = IdRange { layer: 0, here: 100_000, count: 10 };
        let map = IdMap { uids: vec![range], gids: vec![range] };
        assert_eq!((map.uid(9), map.uid(10).is_err()), (Ok(100_009), true));
        assert_eq!((map.layer_uid(100_009), map.layer_gid(9)), (Some(9), None));
        assert!(!map.keeps_numbers());
    }
}
