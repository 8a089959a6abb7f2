//! crun's mount option `idmap=uids=0-1-10#10-11-10;gids=@0-100-10`: ids of the file system, ids outside, how many.
//!
//! Law: behind `@` the second number is one of the container's, and is moved to where that lies outside.

use super::step::{IdMaps, IdRange};

/// `None` where it is no mapping of both users and groups.
pub(super) fn parse(text: &str, container: Option<&IdMaps>) -> Option<IdMaps> {
    let mut maps = IdMaps::default();
    for part in text.split(';').filter(|part| !part.is_empty()) {
        let (name, ranges) = part.split_once('=')?;
        let (into, outside) = match name {
            "uids" => (&mut maps.users, container.map(|ids| &ids.users)),
            "gids" => (&mut maps.groups, container.map(|ids| &ids.groups)),
            _ => return None,
        };
        for range in ranges.split('#') {
            into.push(one(range, outside.map(Vec::as_slice))?);
        }
    }
    (!maps.users.is_empty() && !maps.groups.is_empty()).then_some(maps)
}

fn one(text: &str, container: Option<&[IdRange]>) -> Option<IdRange> {
    let (relative, text) = text.strip_prefix('@').map_or((false, text), |rest| (true, rest));
    let mut numbers = text.split('-').map(|number| number.parse::<u32>().ok());
    let (inside, outside, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
    if numbers.next().is_some() {
        return None;
    }
    let outside = if relative { moved(outside, container?)? } else { outside };
    Some(IdRange { inside, outside, count })
}

/// Where an id of the container lies outside.
pub(super) fn moved(id: u32, ranges: &[IdRange]) -> Option<u32> {
    let range = ranges.iter().find(|range| range.inside <= id && id - range.inside < range.count)?;
    range.outside.checked_add(id - range.inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<&str>) {
        let container = IdMaps {
            users: vec![IdRange { inside: 0, outside: 0, count: 1 }, IdRange { inside: 1, outside: 2, count: 1000 }],
            groups: vec![IdRange { inside: 0, outside: 100_000, count: 65536 }],
        };
        let found = parse(text, Some(&container)).map(|maps| maps.to_string());
        assert_eq!(found.as_deref(), expect, "{text}");
    }

    #[test]
    fn ranges_are_separated_by_number_signs() {
        check("uids=0-1-10#10-11-10;gids=0-100-10", Some("users 0:1:10,10:11:10 groups 0:100:10"));
    }

    #[test]
    fn behind_an_at_sign_ids_are_the_containers() {
        check("uids=@1-3-10;gids=@0-5-1", Some("users 1:4:10 groups 0:100005:1"));
        check("uids=@1-5000-10;gids=0-0-1", None);
    }

    #[test]
    fn what_is_no_mapping_is_refused() {
        for text in ["", "uids=0-1-10", "uids=0-1;gids=0-1-1", "uids=0-1-1-1;gids=0-1-1", "pids=0-1-1", "uids=x-1-1"] {
            check(text, None);
        }
    }
}
