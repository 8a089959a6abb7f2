//! Filling a new volume with what the image has at its place, as docker does.
//!
//! The image's layers are mounted as a detached overlay that nobody else sees and that ends with its descriptor; what stands
//! at the volume's path goes through the layer packer into the volume, so that owners, times, links and attributes survive.

use std::fs::File;
use std::io::Seek;
use std::os::fd::OwnedFd;
use std::path::Path;

use knarr_layer::{Compression, Limits, Owners, PackOptions, UnpackOptions, WhiteoutForm, pack, unpack};
use knarr_store::RootMounts;
use knarr_sys::{Errno, InRoot, Root};

use super::tree;
use crate::policy::ResolvedMount;
use crate::{Context, Error, Result};

/// Fills `volumes`, each new and empty.
pub(super) fn new_volumes(context: &Context, mounts: &RootMounts, volumes: &[ResolvedMount]) -> Result<()> {
    if volumes.is_empty() {
        return Ok(());
    }
    let image = tree::view(mounts).map_err(Error::sys("look into the image"))?;
    volumes.iter().try_for_each(|volume| fill(context, &image, volume))
}

fn fill(context: &Context, image: &Root, volume: &ResolvedMount) -> Result<()> {
    let Ok(place) = InRoot::parse(&volume.target) else { return Ok(()) };
    let source = match image.open_dir(&place) {
        Ok(dir) => Root::from_fd(dir),
        Err(error) if matches!(error.errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
        Err(error) => return Err(Error::sys("look into the image")(error)),
    };
    let target = Root::open(&volume.source).map_err(Error::sys("open the volume"))?;
    let mut spool = spool(&volume.source)?;
    let layer = |source| Error::Layer { what: format!("fill the volume at {}", volume.target), source };
    let ids = crate::image::pull::unpack_options(context).ids;
    let options = PackOptions { compression: Compression::None, ids: ids.clone(), ..PackOptions::default() };
    pack(&source, &mut spool, &options).map_err(layer)?;
    spool.rewind().map_err(Error::io("rewind", &volume.source))?;
    let options = UnpackOptions {
        compression: Some(Compression::None),
        whiteouts: WhiteoutForm::Apply,
        ids,
        owners: Owners::Set,
        limits: Limits::default(),
        rootless: context.rootless(),
        pipeline: false,
    };
    unpack(spool, &target, &options).map_err(layer)?;
    Ok(())
}

/// A file without a name beside the volume, where there is room for what the volume is to hold.
fn spool(volume: &Path) -> Result<File> {
    let fd: OwnedFd = knarr_sys::fs::unnamed_file(volume).map_err(Error::sys("make a temporary file"))?;
    Ok(File::from(fd))
}
