//! systemd.slice(5): where a slice lies is in its name.

use std::path::PathBuf;

use crate::Error;

/// `a-b.slice` lies at `/a.slice/a-b.slice`; `-.slice` is the root.
pub fn expand(slice: &str) -> Result<PathBuf, Error> {
    let wrong = || Error::Slice(slice.to_owned());
    let name = slice.strip_suffix(".slice").filter(|name| !name.is_empty() && !name.contains('/')).ok_or_else(wrong)?;
    let mut path = PathBuf::from("/");
    if name == "-" {
        return Ok(path);
    }
    let mut prefix = String::new();
    for part in name.split('-') {
        if part.is_empty() {
            return Err(wrong());
        }
        prefix += part;
        path.push(format!("{prefix}.slice"));
        prefix += "-";
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn dashes_are_levels() {
        for (slice, expect) in
            [("system.slice", "/system.slice"), ("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice"), ("-.slice", "/")]
        {
            assert_eq!(expand(slice).unwrap(), Path::new(expect));
        }
    }

    #[test]
    fn what_cannot_be_a_slice_is_refused() {
        for slice in ["", ".slice", "a", "a--b.slice", "-a.slice", "a-.slice", "a/b.slice"] {
            assert!(expand(slice).is_err(), "{slice}");
        }
    }
}
