//! Removing images as `docker rmi` does: a name goes first, the image with its last name.
//!
//! Law: the decision is data; the caller words it and asks again with `force`. Layers under existing containers stay
//! whatever happens to their image.

use knarr_spec::{ChainId, DiffId, Digest, Reference};
use rusqlite::Connection;

use crate::database::{Durability, Fault};
use crate::error::{Error, Result};
use crate::image::drop_name;
use crate::image_find::{load, resolve};
use crate::records::ImageRecord;
use crate::store::Store;

/// What became of a request to remove an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageRemoval {
    /// Done.
    Done(RemovedImage),
    /// Nothing was done: containers were made from it. `force` removes the image and leaves them their layers; whether they
    /// run, and so whether to force, the caller knows.
    InUse {
        /// The image.
        image: Digest,
        /// Containers made from it, as id and name.
        containers: Vec<(String, String)>,
    },
    /// Nothing was done: it was named by its id and has names in several repositories. `force` removes them all.
    SeveralNames {
        /// The image.
        image: Digest,
        /// All of its names.
        names: Vec<Reference>,
    },
}

/// What went with an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemovedImage {
    /// Names taken away, tags first.
    pub untagged: Vec<Reference>,
    /// The image, if its last name went.
    pub deleted: Option<Digest>,
    /// Chains of its layers that no other image has, top first, as `docker rmi` lists them.
    pub chains: Vec<ChainId>,
}

impl Store {
    /// Removes the name or image that `text` means. Space is given back by the collection that follows
    /// ([`Store::collect`]).
    pub fn remove_image(&self, text: &str, force: bool) -> Result<ImageRemoval> {
        self.freeing(|| self.database().write("remove image", Durability::Full, |c| remove(c, text, force)))
    }
}

fn remove(c: &Connection, text: &str, force: bool) -> Result<ImageRemoval, Fault> {
    let id = resolve(c, text)?;
    let image = load(c, &id)?.ok_or_else(|| Error::NoSuchImage(text.to_owned()))?;
    match meant_name(&image, text) {
        Some(name) if image.names.len() > 1 => untag(c, &name),
        meant => delete(c, image, meant.is_none(), force),
    }
}

/// The tag of `image` that `text` is; `None` where it is an id, a beginning of one or a digest.
fn meant_name(image: &ImageRecord, text: &str) -> Option<Reference> {
    let name: Reference = text.parse().ok()?;
    let tagged = name.with_tag(name.tag()?).ok()?;
    image.names.contains(&tagged).then_some(tagged)
}

fn untag(c: &Connection, name: &Reference) -> Result<ImageRemoval, Fault> {
    drop_name(c, name)?;
    Ok(ImageRemoval::Done(RemovedImage { untagged: vec![name.clone()], ..RemovedImage::default() }))
}

fn delete(c: &Connection, image: ImageRecord, by_id: bool, force: bool) -> Result<ImageRemoval, Fault> {
    let mut repositories: Vec<String> = image.names.iter().map(Reference::name).collect();
    repositories.dedup();
    if by_id && repositories.len() > 1 && !force {
        return Ok(ImageRemoval::SeveralNames { image: image.id, names: image.names });
    }
    let containers = users(c, &image.id)?;
    if !containers.is_empty() && !force {
        return Ok(ImageRemoval::InUse { image: image.id, containers });
    }
    c.prepare_cached("DELETE FROM images WHERE id = ?1")?.execute([image.id.as_str()])?;
    let chains = lone_chains(c, &image)?;
    let untagged = image.names.into_iter().chain(image.repo_digests).collect();
    Ok(ImageRemoval::Done(RemovedImage { untagged, deleted: Some(image.id), chains }))
}

/// Containers made from the image, as id and name.
fn users(c: &Connection, id: &Digest) -> Result<Vec<(String, String)>, Fault> {
    let mut query = c.prepare_cached("SELECT id, name FROM containers WHERE image = ?1 ORDER BY created_ns")?;
    let rows = query.query_map([id.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Chains of a deleted image whose top layer no image has any more.
fn lone_chains(c: &Connection, image: &ImageRecord) -> Result<Vec<ChainId>, Fault> {
    let diff_ids: &[DiffId] = &image.config.rootfs.diff_ids;
    let mut used = c.prepare_cached("SELECT EXISTS (SELECT 1 FROM image_layers WHERE diff_id = ?1)")?;
    let mut chains = Vec::new();
    for length in (1..=diff_ids.len()).rev() {
        if used.query_row([diff_ids[length - 1].0.as_str()], |row| row.get(0))? {
            break;
        }
        chains.extend(ChainId::of(&diff_ids[..length]));
    }
    Ok(chains)
}
