//! `pull`, and what pulls and loads have in common.

use knarr_distribution::{Network, Place, Policy, Progress, PullOptions, Silent};
use knarr_layer::{IdMap, Limits, Owners, UnpackOptions, WhiteoutForm};
use knarr_spec::{Platform, Reference};
use knarr_store::ImageRecord;

use crate::{Context, Result};

/// What a pull needs of the caller's world, asked for only when something is pulled.
pub trait Pulls {
    /// How registries are reached.
    fn network(&self) -> Result<Network>;
    /// What may be pulled.
    fn policy(&self) -> Result<Policy> {
        Ok(Policy::default())
    }
    /// Who watches.
    fn progress(&self) -> &dyn Progress;
    /// A name is not here and will be fetched.
    fn missing(&self, reference: &Reference);
}

/// For verbs that never pull.
pub struct NoPulls;

impl Pulls for NoPulls {
    fn network(&self) -> Result<Network> {
        Ok(Network::default())
    }

    fn progress(&self) -> &dyn Progress {
        &Silent
    }

    fn missing(&self, _: &Reference) {}
}

/// Fetches one image: from a registry, or from `oci:`, `oci-archive:`, `docker-archive:`.
pub fn pull(context: &Context, source: &Place, platform: Option<&Platform>, pulls: &dyn Pulls) -> Result<ImageRecord> {
    let options = options(context, platform, pulls)?;
    let image = knarr_distribution::pull(&context.store, source, &options)?;
    super::budget::keep(context, &[&image]);
    Ok(image)
}

/// Fetches what a name as typed means: of the registries that registries.conf has for a name without one, the first that has it.
pub fn pull_meant(
    context: &Context,
    text: &str,
    platform: Option<&Platform>,
    pulls: &dyn Pulls,
) -> Result<(Reference, ImageRecord)> {
    let mut candidates = pulls.network()?.registries.candidates(text)?;
    let last = candidates.pop().expect("a name means something");
    for candidate in candidates {
        match pull(context, &Place::Registry(candidate.clone()), platform, pulls) {
            Ok(image) => return Ok((candidate, image)),
            Err(error) => context.note(error.to_string()),
        }
    }
    let image = pull(context, &Place::Registry(last.clone()), platform, pulls)?;
    Ok((last, image))
}

pub(crate) fn options<'p>(
    context: &Context,
    platform: Option<&Platform>,
    pulls: &'p dyn Pulls,
) -> Result<PullOptions<'p>> {
    Ok(PullOptions {
        platform: platform.cloned().unwrap_or_else(Platform::host),
        network: pulls.network()?,
        policy: pulls.policy()?,
        progress: pulls.progress(),
        ..PullOptions::new(unpack_options(context))
    })
}

/// How layers become trees here.
pub(crate) fn unpack_options(context: &Context) -> UnpackOptions {
    let rootless = context.rootless();
    let ids = if rootless {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        IdMap::of_namespace(&read("/proc/self/uid_map"), &read("/proc/self/gid_map"))
    } else {
        IdMap::identity()
    };
    let whiteouts = if rootless { WhiteoutForm::OverlayUser } else { WhiteoutForm::OverlayTrusted };
    UnpackOptions {
        compression: None,
        whiteouts,
        ids,
        owners: Owners::Set,
        limits: Limits::default(),
        rootless,
        pipeline: true,
    }
}
