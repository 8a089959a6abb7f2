//! What is garbage, and why.
//!
//! Law: pure. From facts about database and disk to a list of what would go; nothing that an image, a container or a living
//! lease needs is ever on it (property-tested). What the database does not know is garbage.
//! Not here: gathering the facts (`gc_facts`), removing (`gc_apply`), which checks each thing once more under its lock.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use knarr_spec::Digest;

use crate::remake::DROPPED_BYTES_MIN;

/// Which images may go although nothing is broken about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PruneImages {
    /// None: only what no image needs is collected.
    #[default]
    None,
    /// Those without a tag and without a container.
    Dangling,
    /// Those without a container.
    Unused,
}

/// What the user wants gone.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Images that go.
    pub images: PruneImages,
    /// Images that go, unless a container uses them.
    pub evict: BTreeSet<Digest>,
    /// Images that stay whatever `images` says: the caller's filters.
    pub keep_images: BTreeSet<Digest>,
    /// Uncompressed layers are kept as trees alone: their blobs go, and are made again when asked for.
    pub drop_remakeable: bool,
    /// Partial blobs last written before this moment (nanoseconds since 1970) go; 0 keeps all, for resuming.
    pub partials_before_ns: i64,
}

/// A blob with a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobFact {
    /// Its digest.
    pub digest: Digest,
    /// Bytes of its file; none where it was dropped.
    pub bytes: u64,
    /// The layer whose uncompressed tar it is.
    pub tar_of: Option<i64>,
    /// It has no file, and is made of that layer.
    pub dropped: bool,
}

/// A layer with a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerFact {
    /// Its directory's number.
    pub number: i64,
    /// Bytes of file content.
    pub bytes: u64,
}

/// An image and what it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFact {
    /// Its id.
    pub id: Digest,
    /// Whether it has a tag.
    pub tagged: bool,
    /// Whether a container was made from it.
    pub used: bool,
    /// Blobs it needs.
    pub blobs: BTreeSet<Digest>,
    /// Layers it needs, by number.
    pub layers: BTreeSet<i64>,
}

/// A partial blob that nobody is writing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartialFact {
    /// The blob it would become.
    pub digest: Digest,
    /// Bytes so far.
    pub bytes: u64,
    /// When they were last written to, in nanoseconds since 1970.
    pub modified_ns: i64,
}

/// Something on disk that belongs to no row and no living process, for the planner to compare with the rows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum OnDisk {
    /// `blobs/<alg>/<hex>`.
    Blob(Digest),
    /// `recipes/<alg>/<hex>`.
    Recipe(Digest),
    /// `layers/<number>`.
    Layer(i64),
    /// `snapshots/<container id>`.
    Snapshot(String),
    /// `leases/<token>`.
    Lease(String),
    /// Anything that is rubbish by its place: trash, scaffolding.
    Rubbish(PathBuf),
}

/// Everything the planner knows.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Blobs with a row.
    pub blobs: Vec<BlobFact>,
    /// Layers with a row.
    pub layers: Vec<LayerFact>,
    /// Images.
    pub images: Vec<ImageFact>,
    /// Layers below containers, by number.
    pub snapshot_layers: BTreeSet<i64>,
    /// Containers that have a snapshot.
    pub snapshots: BTreeSet<String>,
    /// Blobs that living leases protect.
    pub leased_blobs: BTreeSet<Digest>,
    /// Blobs that lists and artifacts need.
    pub document_blobs: BTreeSet<Digest>,
    /// Layers that living leases protect.
    pub leased_layers: BTreeSet<i64>,
    /// Leases whose holder is dead.
    pub dead_leases: Vec<String>,
    /// Partial blobs that nobody is writing.
    pub partials: Vec<PartialFact>,
    /// What was found on disk and is not locked.
    pub disk: Vec<OnDisk>,
}

/// Why something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// An image without tag and container.
    Dangling,
    /// An image without container.
    Unused,
    /// It is over the budget.
    Evicted,
    /// No image, container or living process needs it.
    Unreferenced,
    /// The database does not know it.
    Unknown,
    /// A download nobody went on with.
    Stale,
    /// It can be made of its layer again.
    Remakeable,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Dangling => "no tag and no container",
            Why::Unused => "no container",
            Why::Evicted => "over the budget",
            Why::Unreferenced => "nothing needs it",
            Why::Unknown => "not in the database",
            Why::Stale => "an old partial download",
            Why::Remakeable => "its layer has it too",
        })
    }
}

/// What goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doomed {
    /// An image's record and names.
    Image(Digest),
    /// A blob, its row and its bytes.
    Blob(BlobFact),
    /// The bytes of a blob that stays: its layer has them too.
    Copy(BlobFact),
    /// A layer, its row and its tree.
    Layer(LayerFact),
    /// A partial blob.
    Partial(PartialFact),
    /// Files without a row.
    Stray(OnDisk),
    /// The lease of a dead process.
    Lease(String),
}

/// A list of what goes and why, in the order in which it is safe to remove.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Each thing with its reason.
    pub doomed: Vec<(Doomed, Why)>,
}

/// Decides what goes.
pub fn plan(facts: &Facts, policy: &Policy) -> Plan {
    let reason = |image: &ImageFact| match policy.images {
        _ if image.used || policy.keep_images.contains(&image.id) => None,
        _ if policy.evict.contains(&image.id) => Some(Why::Evicted),
        PruneImages::None => None,
        PruneImages::Dangling => (!image.tagged).then_some(Why::Dangling),
        PruneImages::Unused => Some(if image.tagged { Why::Unused } else { Why::Dangling }),
    };
    let staying: Vec<&ImageFact> = facts.images.iter().filter(|image| reason(image).is_none()).collect();
    let blobs: BTreeSet<&Digest> =
        staying.iter().flat_map(|image| &image.blobs).chain(&facts.leased_blobs).chain(&facts.document_blobs).collect();
    let dropped = facts.blobs.iter().filter(|blob| blob.dropped && blobs.contains(&blob.digest));
    let kept_layers = staying.iter().flat_map(|image| &image.layers).chain(dropped.filter_map(|b| b.tar_of.as_ref()));
    let layers: BTreeSet<&i64> = kept_layers.chain(&facts.snapshot_layers).chain(&facts.leased_layers).collect();

    let mut doomed = Vec::new();
    doomed.extend(facts.dead_leases.iter().map(|token| (Doomed::Lease(token.clone()), Why::Unreferenced)));
    doomed.extend(facts.images.iter().filter_map(|image| Some((Doomed::Image(image.id.clone()), reason(image)?))));
    let unneeded = facts.blobs.iter().filter(|blob| !blobs.contains(&blob.digest));
    doomed.extend(unneeded.map(|blob| (Doomed::Blob(blob.clone()), Why::Unreferenced)));
    let unneeded = facts.layers.iter().filter(|layer| !layers.contains(&layer.number));
    doomed.extend(unneeded.map(|layer| (Doomed::Layer(layer.clone()), Why::Unreferenced)));
    let finished: BTreeSet<&Digest> = facts.blobs.iter().map(|blob| &blob.digest).collect();
    let stale = |partial: &&PartialFact| {
        let old = partial.modified_ns < policy.partials_before_ns;
        partial.bytes == 0 || old || finished.contains(&partial.digest)
    };
    doomed.extend(facts.partials.iter().filter(stale).map(|partial| (Doomed::Partial(partial.clone()), Why::Stale)));
    if policy.drop_remakeable {
        let is_copy = |blob: &&BlobFact| {
            blobs.contains(&blob.digest)
                && !facts.leased_blobs.contains(&blob.digest)
                && blob.bytes >= DROPPED_BYTES_MIN
                && blob.tar_of.is_some_and(|layer| layers.contains(&layer))
        };
        doomed.extend(facts.blobs.iter().filter(is_copy).map(|blob| (Doomed::Copy(blob.clone()), Why::Remakeable)));
    }
    doomed.extend(strays(facts).map(|stray| (Doomed::Stray(stray.clone()), Why::Unknown)));
    Plan { doomed }
}

/// What is on disk without a row.
fn strays(facts: &Facts) -> impl Iterator<Item = &OnDisk> {
    let blobs: BTreeSet<&Digest> = facts.blobs.iter().map(|blob| &blob.digest).collect();
    let dropped: BTreeSet<&Digest> = facts.blobs.iter().filter(|blob| blob.dropped).map(|blob| &blob.digest).collect();
    let layers: BTreeSet<i64> = facts.layers.iter().map(|layer| layer.number).collect();
    facts.disk.iter().filter(move |found| match found {
        OnDisk::Blob(digest) => !blobs.contains(digest) || dropped.contains(digest),
        OnDisk::Recipe(digest) => !dropped.contains(digest),
        OnDisk::Layer(number) => !layers.contains(number),
        OnDisk::Snapshot(container) => !facts.snapshots.contains(container),
        OnDisk::Lease(token) => !facts.dead_leases.contains(token),
        OnDisk::Rubbish(_) => true,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest(n: u8) -> Digest {
        Digest::sha256_of(&[n])
    }

    fn some_digests() -> impl Strategy<Value = BTreeSet<Digest>> {
        prop::collection::btree_set((0u8..12).prop_map(digest), 0..5)
    }

    fn some_layers() -> impl Strategy<Value = BTreeSet<i64>> {
        prop::collection::btree_set(0i64..12, 0..5)
    }

    fn images() -> impl Strategy<Value = Vec<ImageFact>> {
        let image = (any::<bool>(), any::<bool>(), some_digests(), some_layers());
        prop::collection::vec(image, 0..6).prop_map(|images| {
            let fact = |(n, (tagged, used, blobs, layers))| ImageFact { id: digest(n), tagged, used, blobs, layers };
            (100u8..).zip(images).map(fact).collect()
        })
    }

    fn facts() -> impl Strategy<Value = Facts> {
        let rows = (some_digests(), some_layers());
        let disk = (some_digests(), some_layers());
        (images(), rows, disk, some_layers(), some_digests(), some_layers()).prop_map(
            |(images, rows, disk, snapshot_layers, leased_blobs, leased_layers)| Facts {
                images,
                blobs: rows
                    .0
                    .into_iter()
                    .map(|digest| BlobFact { digest, bytes: 1, tar_of: None, dropped: false })
                    .collect(),
                layers: rows.1.into_iter().map(|number| LayerFact { number, bytes: 1 }).collect(),
                disk: disk.0.into_iter().map(OnDisk::Blob).chain(disk.1.into_iter().map(OnDisk::Layer)).collect(),
                snapshot_layers,
                leased_blobs,
                leased_layers,
                ..Facts::default()
            },
        )
    }

    fn policies() -> impl Strategy<Value = Policy> {
        let images = prop_oneof![Just(PruneImages::None), Just(PruneImages::Dangling), Just(PruneImages::Unused)];
        let keep = prop::collection::btree_set((100u8..106).prop_map(digest), 0..3);
        (images, keep).prop_map(|(images, keep_images)| Policy { images, keep_images, ..Policy::default() })
    }

    proptest! {
        #[test]
        fn nothing_needed_goes_and_nothing_unneeded_stays(facts in facts(), policy in policies()) {
            let doomed: Vec<Doomed> = plan(&facts, &policy).doomed.into_iter().map(|(doomed, _)| doomed).collect();
            let gone = |id: &Digest| doomed.contains(&Doomed::Image(id.clone()));
            for image in facts.images.iter().filter(|image| gone(&image.id)) {
                prop_assert!(!image.used && !policy.keep_images.contains(&image.id));
                prop_assert!(policy.images == PruneImages::Unused || !image.tagged);
                prop_assert!(policy.images != PruneImages::None);
            }
            let staying: Vec<_> = facts.images.iter().filter(|image| !gone(&image.id)).collect();
            for blob in &facts.blobs {
                let needed = staying.iter().any(|image| image.blobs.contains(&blob.digest))
                    || facts.leased_blobs.contains(&blob.digest);
                prop_assert_eq!(doomed.contains(&Doomed::Blob(blob.clone())), !needed);
                prop_assert!(!doomed.contains(&Doomed::Stray(OnDisk::Blob(blob.digest.clone()))));
            }
            for layer in &facts.layers {
                let needed = staying.iter().any(|image| image.layers.contains(&layer.number))
                    || facts.snapshot_layers.contains(&layer.number)
                    || facts.leased_layers.contains(&layer.number);
                prop_assert_eq!(doomed.contains(&Doomed::Layer(layer.clone())), !needed);
                prop_assert!(!doomed.contains(&Doomed::Stray(OnDisk::Layer(layer.number))));
            }
        }
    }

    #[test]
    fn partial_blobs_stay_until_they_are_old_and_empty_ones_go() {
        let partial = |n, bytes, modified_ns| PartialFact { digest: digest(n), bytes, modified_ns };
        let facts = Facts { partials: vec![partial(1, 0, 9), partial(2, 5, 9), partial(3, 5, 1)], ..Facts::default() };
        let gone = |partials_before_ns| plan(&facts, &Policy { partials_before_ns, ..Policy::default() }).doomed.len();
        assert_eq!((gone(0), gone(5), gone(10)), (1, 2, 3));
    }
}
