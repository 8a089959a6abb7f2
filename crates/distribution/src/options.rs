//! How an image is pulled or loaded.

use std::fmt;

use knarr_layer::UnpackOptions;
use knarr_spec::{Platform, Reference};

use crate::limits;
use crate::network::Network;
use crate::policy::Policy;
use crate::progress::{Progress, Silent};

/// How an image is pulled or loaded.
#[derive(Clone)]
pub struct PullOptions<'a> {
    /// What the image must run on.
    pub platform: Platform,
    /// How servers are reached.
    pub network: Network,
    /// Who watches.
    pub progress: &'a dyn Progress,
    /// Layers at once.
    pub concurrency: usize,
    /// How layers are unpacked; the compression is each layer's own.
    pub unpack: UnpackOptions,
    /// Fetch layers that a registry does not have from the https URLs their descriptors name.
    pub foreign_layers: bool,
    /// What may be pulled.
    pub policy: Policy,
    /// Names to give besides those the source has.
    pub names: Vec<Reference>,
}

impl PullOptions<'static> {
    /// For this machine, anonymous, unobserved.
    pub fn new(unpack: UnpackOptions) -> PullOptions<'static> {
        PullOptions {
            platform: Platform::host(),
            network: Network::default(),
            progress: &Silent,
            concurrency: limits::CONCURRENCY_DEFAULT,
            unpack,
            foreign_layers: false,
            policy: Policy::default(),
            names: Vec::new(),
        }
    }
}

impl fmt::Debug for PullOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullOptions")
            .field("platform", &self.platform)
            .field("network", &self.network)
            .field("concurrency", &self.concurrency)
            .field("unpack", &self.unpack)
            .field("foreign_layers", &self.foreign_layers)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}
