//! `user[:group]` to numbers, by an image's own `/etc/passwd` and `/etc/group`.
//!
//! Spec: passwd(5), group(5); the rules are Docker's: a number needs no entry, an entry gives group, home and supplementary groups,
//! and an explicit group drops the supplementary ones.
//! Law: pure. Malformed lines are skipped, as every libc does.

/// Longest passwd or group file we read: generous for a directory export, and small enough not to be a weapon.
pub const USER_FILE_BYTES_MAX: u64 = 16 << 20;

/// What a process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedUser {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups, sorted, without duplicates.
    pub additional_gids: Vec<u32>,
    /// Home directory; `/` without an entry.
    pub home: String,
}

/// Why a name cannot be resolved. The texts are docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// No such user in the image.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    User(String),
    /// No such group in the image.
    #[error("unable to find group {0}: no matching entries in group file")]
    Group(String),
}

/// The two files; empty where the image has none.
#[derive(Debug, Clone, Copy, Default)]
pub struct UserFiles<'a> {
    /// `/etc/passwd`
    pub passwd: &'a [u8],
    /// `/etc/group`
    pub group: &'a [u8],
}

struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl<'a> UserFiles<'a> {
    fn users(&self) -> impl Iterator<Item = User<'a>> {
        records(self.passwd).filter_map(|fields| {
            let [name, _, uid, gid, _, home, ..] = fields[..] else { return None };
            Some(User { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
        })
    }

    fn groups(&self) -> impl Iterator<Item = Group<'a>> {
        records(self.group).filter_map(|fields| {
            let [name, _, gid, ..] = fields[..] else { return None };
            Some(Group { name, gid: gid.parse().ok()?, members: fields.get(3).copied().unwrap_or_default() })
        })
    }

    fn gid(&self, text: &str) -> Result<u32, UserError> {
        let known = self.groups().find(|group| group.name == text).map(|group| group.gid);
        known.or_else(|| number(text)).ok_or_else(|| UserError::Group(text.to_owned()))
    }

    /// Resolves `user[:group]`; empty is root. `group_add` are names or numbers from `--group-add`.
    pub fn resolve(&self, text: &str, group_add: &[String]) -> Result<ResolvedUser, UserError> {
        let (name, group) = text.split_once(':').map_or((text, None), |(name, group)| (name, Some(group)));
        let name = if name.is_empty() { "0" } else { name };
        let by_name = self.users().find(|user| user.name == name);
        let entry = by_name.or_else(|| number(name).and_then(|uid| self.users().find(|user| user.uid == uid)));
        let uid = match (&entry, number(name)) {
            (Some(entry), _) => entry.uid,
            (None, Some(uid)) => uid,
            (None, None) => return Err(UserError::User(name.to_owned())),
        };
        let explicit = group.filter(|group| !group.is_empty()).map(|group| self.gid(group)).transpose()?;
        let gid = explicit.or(entry.as_ref().map(|entry| entry.gid)).unwrap_or(0);
        let mut additional: Vec<u32> = match (&entry, explicit) {
            (Some(entry), None) => self.memberships(entry.name).collect(),
            _ => Vec::new(),
        };
        for group in group_add {
            additional.push(self.gid(group)?);
        }
        additional.sort_unstable();
        additional.dedup();
        let home = entry.map(|entry| entry.home).filter(|home| !home.is_empty()).unwrap_or("/").to_owned();
        Ok(ResolvedUser { uid, gid, additional_gids: additional, home })
    }

    fn memberships(&self, user: &str) -> impl Iterator<Item = u32> {
        self.groups().filter(move |group| group.members.split(',').any(|member| member.trim() == user)).map(|g| g.gid)
    }
}

/// Ids above this are negative to parts of user space, and the highest means "unchanged" to the kernel.
const ID_MAX: u32 = i32::MAX as u32;

fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id <= ID_MAX)
}

fn records(file: &[u8]) -> impl Iterator<Item = Vec<&str>> {
    file.split(|b| *b == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok())
        .map(|line| line.trim().split(':').collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n# comment\nbroken\nweb:x:33:34::/var/www:/bin/false\n1000:x:7:8::/odd:\nnohome:x:9:9:::\n";
    const GROUP: &[u8] = b"root:x:0:\ndisk:x:6:root,web\nwww:x:34:\nlogs:x:40:web\n";

    fn check(text: &str, add: &[&str], expect: Result<(u32, u32, &[u32], &str), UserError>) {
        let add: Vec<String> = add.iter().map(|s| (*s).to_owned()).collect();
        let got = UserFiles { passwd: PASSWD, group: GROUP }.resolve(text, &add);
        let expect = expect.map(|(uid, gid, additional, home)| ResolvedUser {
            uid,
            gid,
            additional_gids: additional.to_vec(),
            home: home.to_owned(),
        });
        assert_eq!(got, expect, "{text:?}");
    }

    #[test]
    fn nothing_is_root_with_its_groups() {
        check("", &[], Ok((0, 0, &[6], "/root")));
        check("root", &[], Ok((0, 0, &[6], "/root")));
    }

    #[test]
    fn a_name_has_its_group_home_and_memberships() {
        check("web", &[], Ok((33, 34, &[6, 40], "/var/www")));
        check("33", &[], Ok((33, 34, &[6, 40], "/var/www")));
    }

    #[test]
    fn an_explicit_group_drops_the_memberships() {
        check("web:logs", &[], Ok((33, 40, &[], "/var/www")));
        check("web:99", &[], Ok((33, 99, &[], "/var/www")));
    }

    #[test]
    fn a_number_needs_no_entry() {
        check("4242", &[], Ok((4242, 0, &[], "/")));
        check("4242:17", &[], Ok((4242, 17, &[], "/")));
    }

    #[test]
    fn a_name_that_looks_like_a_number_is_a_name_first() {
        check("1000", &[], Ok((7, 8, &[], "/odd")));
    }

    #[test]
    fn added_groups_join_sorted_once() {
        check("web", &["logs", "disk", "3"], Ok((33, 34, &[3, 6, 40], "/var/www")));
        check("web:www", &["logs"], Ok((33, 34, &[40], "/var/www")));
    }

    #[test]
    fn unknown_names_are_named() {
        check("nobody", &[], Err(UserError::User("nobody".into())));
        check("web:nogroup", &[], Err(UserError::Group("nogroup".into())));
        check("root", &["nogroup"], Err(UserError::Group("nogroup".into())));
        check("4294967295", &[], Err(UserError::User("4294967295".into())));
    }

    #[test]
    fn an_empty_home_is_the_root_directory() {
        check("nohome", &[], Ok((9, 9, &[], "/")));
    }

    #[test]
    fn an_image_without_files_still_runs_as_root() {
        let user = UserFiles::default().resolve("", &[]).unwrap();
        assert_eq!((user.uid, user.gid, user.home.as_str()), (0, 0, "/"));
    }
}
