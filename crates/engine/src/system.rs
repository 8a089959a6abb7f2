//! `system check`: whether the store is as its database says, and mending it; `system prune`.

pub mod prune;

use std::collections::BTreeSet;

use knarr_distribution::{CopyOptions, MultiArch, Place};
use knarr_spec::Reference;
use knarr_store::{CheckOptions, Finding, Mended, Salvaged, Store, StoreOptions, salvage};

use crate::image::pull::{Pulls, pull, unpack_options};
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
pub fn check(
    paths: &Paths,
    namespace: Namespace,
    gid_max: u32,
    wanted: CheckWanted,
    pulls: &dyn Pulls,
) -> Result<CheckReport> {
    let options = StoreOptions { rootless: namespace != Namespace::Initial };
    let mut report = CheckReport::default();
    let look = || -> knarr_store::Result<_> {
        Store::open(&paths.state, &options)?.check(&CheckOptions { contents: wanted.contents })
    };
    let mut found = look();
    let unreadable = match &found {
        Ok(findings) => findings.iter().any(|finding| matches!(finding, Finding::Database(_))),
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
    if mended.iter().any(|(_, mended)| matches!(mended, Mended::PullAgain)) {
        fetch_again(&context, pulls);
    }
    for (finding, mended) in mended {
        let said = match mended {
            Mended::PullAgain if is_there(&context, &finding) => "fetched again".to_owned(),
            other => words(other),
        };
        report.findings.push((finding.to_string(), Some(said)));
    }
    Ok(report)
}

/// Fetches what images lack by the digests they were once pulled by. What no registry has any more stays forgotten.
fn fetch_again(context: &Context, pulls: &dyn Pulls) {
    let (mut images, mut documents) = (BTreeSet::new(), BTreeSet::new());
    for finding in context.store.check(&CheckOptions::default()).unwrap_or_default() {
        match finding {
            Finding::ImageLacksBlob { image, .. } | Finding::ImageLacksLayer { image, .. } => {
                images.insert(image);
            }
            Finding::DocumentLacksBlob { name, .. } => {
                documents.insert(name);
            }
            _ => {}
        }
    }
    for name in documents {
        if let Err(error) = fetch_document(context, &name, pulls) {
            context.note(error.to_string());
        }
    }
    for id in images {
        let Ok(Some(image)) = context.store.image(&id) else { continue };
        let platform = image.config.platform.clone();
        for name in image.repo_digests {
            match pull(context, &Place::Registry(name), Some(&platform), pulls) {
                Ok(_) => break,
                Err(error) => context.note(error.to_string()),
            }
        }
    }
}

/// What a list or artifact lacks, from the registry of its name.
fn fetch_document(context: &Context, name: &Reference, pulls: &dyn Pulls) -> Result<()> {
    let Some(record) = context.store.document(name)? else { return Ok(()) };
    let options = CopyOptions {
        multi: MultiArch::All,
        source: pulls.network()?,
        policy: pulls.policy()?,
        progress: pulls.progress(),
        ..CopyOptions::new(context.store.state())
    };
    Ok(knarr_distribution::fetch_document(&context.store, &name.with_digest(record.digest), &options)?)
}

/// Whether what was found missing is there now.
fn is_there(context: &Context, finding: &Finding) -> bool {
    match finding {
        Finding::BlobMissing(digest)
        | Finding::BlobSize { digest, .. }
        | Finding::BlobContent(digest)
        | Finding::ImageLacksBlob { digest, .. }
        | Finding::DocumentLacksBlob { digest, .. } => context.store.blob(digest).is_ok_and(|blob| blob.is_some()),
        Finding::LayerMissing { diff_id, .. } | Finding::ImageLacksLayer { diff_id, .. } => {
            context.store.layer(diff_id).is_ok_and(|layer| layer.is_some())
        }
        _ => false,
    }
}

fn words(mended: Mended) -> String {
    match mended {
        Mended::Whole => "mended".to_owned(),
        Mended::PullAgain => "forgotten: pull its image again".to_owned(),
        Mended::Empty => "made again, but empty: what was in it is lost".to_owned(),
        Mended::Salvage | Mended::Failed(_) => NOT_MENDED.to_owned(),
    }
}
