//! `system check`: whether the store is as its database says, and mending it; `system prune`.

pub mod prune;

use knarr_store::{CheckOptions, Mended, Salvaged, Store, StoreOptions, salvage};

use crate::image::pull::unpack_options;
use crate::{Context, Namespace, Paths, Result};

/// What to do.
#[derive(Debug, Clone, Copy, Default)]
pub struct CheckWanted {
    /// Read every blob.
    pub contents: bool,
    /// Mend what is found.
    pub repair: bool,
}

/// What was found.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// Each finding in words, and what became of it where it was to be mended.
    pub findings: Vec<(String, Option<String>)>,
    /// The database was rebuilt.
    pub salvaged: Option<Salvaged>,
}

impl CheckReport {
    /// Whether all is well now.
    pub fn is_whole(&self) -> bool {
        self.findings.iter().all(|(_, mended)| mended.as_deref().is_some_and(|mended| mended != NOT_MENDED))
    }
}

const NOT_MENDED: &str = "not mended";

/// Compares database and disk. With `repair`, a database that SQLite cannot read is rebuilt first: no other command may run meanwhile.
pub fn check(paths: &Paths, namespace: Namespace, gid_max: u32, wanted: CheckWanted) -> Result<CheckReport> {
    let options = StoreOptions { rootless: namespace != Namespace::Initial };
    let mut report = CheckReport::default();
    let look = || -> knarr_store::Result<_> {
        Store::open(&paths.state, &options)?.check(&CheckOptions { contents: wanted.contents })
    };
    let mut found = look();
    let unreadable = match &found {
        Ok(findings) => findings.iter().any(|finding| matches!(finding, knarr_store::Finding::Database(_))),
        Err(error) => error.kind() == knarr_store::Kind::Damaged,
    };
    if unreadable && wanted.repair {
        report.salvaged = Some(salvage(&paths.state, &options)?);
        found = look();
    }
    let findings = found?;
    if !wanted.repair {
        report.findings = findings.iter().map(|finding| (finding.to_string(), None)).collect();
        return Ok(report);
    }
    let context = Context::open(paths.clone(), namespace, gid_max)?;
    let mended = context.store.repair(findings, &unpack_options(&context));
    report.findings = mended.into_iter().map(|(finding, mended)| (finding.to_string(), Some(words(mended)))).collect();
    Ok(report)
}

fn words(mended: Mended) -> String {
    match mended {
        Mended::Whole => "mended".to_owned(),
        Mended::PullAgain => "forgotten: pull its image again".to_owned(),
        Mended::Empty => "made again, but empty: what was in it is lost".to_owned(),
        Mended::Salvage | Mended::Failed(_) => NOT_MENDED.to_owned(),
    }
}
