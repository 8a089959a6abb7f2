//! One root, one database: blobs, images, layers, snapshots and the records of containers.
//!
//! ```text
//! <state>/knarr.db               what is known; knarr.db-wal and knarr.db-shm belong to it
//!         blobs/<alg>/<hex>      exact bytes, read-only
//!         recipes/<alg>/<hex>    how a blob that was dropped is made again
//!         ingest/<alg>/<hex>     a blob in the making; its writer holds an flock on it; <hex>.state is the hash so far
//!         uploads/<alg>/<hex>.<place>   where a push of that blob goes on
//!         layers/<number>/fs     an unpacked layer; its maker holds an flock on layers/<number>
//!         snapshots/<id>/{upper,work}
//!         volumes/<name>/_data
//!         leases/<token>         flock held by the process whose unfinished work the lease protects
//!         trash/<token>          renamed here to be removed
//!         reserve                room to remove something on a full disk
//! ```
//!
//! Law: write order is file, fsync, its name, fsync of the directory, then the commit that makes it visible. What the
//! database does not know is garbage; what it knows and the disk lacks is reported by name and repairable. No lock and no
//! transaction is held across I/O except the `flock` on the thing being written itself, which ends with its holder.
//! Effects come back as data: snapshots as mounts, garbage as a plan.
//! Not here: names' defaults, policies, networks; the engine decides. Unpacking (`knarr-layer`), fetching (`distribution`).
//!
//! One [`Store`] per operation: what a store touched stays protected from garbage collection until it is dropped. Open it
//! after the last `fork`, never before.
#![forbid(unsafe_code)]

mod blob;
mod budget;
mod check;
mod container;
mod create;
mod database;
mod dedup;
mod document;
mod error;
mod flush;
pub mod gc;
mod gc_apply;
mod gc_facts;
mod hash;
mod image;
mod image_find;
mod image_remove;
mod implied;
mod ingest;
mod layer;
mod lease;
mod lock;
mod partial;
mod records;
mod remake;
mod repair;
mod reserve;
mod salvage;
mod schema;
mod snapshot;
mod spool;
mod store;
mod trash;
mod upload;
mod usage;
mod volume;

pub use blob::Blob;
pub use budget::Budget;
pub use check::{CheckOptions, Finding};
pub use database::{BUSY_WAIT_S_MAX, Durability};
pub use dedup::Shared;
pub use document::{DocumentKind, DocumentRecord};
pub use error::{Error, Kind, Result};
pub use gc_apply::Collected;
pub use image_remove::{ImageRemoval, RemovedImage};
pub use ingest::Ingest;
pub use layer::LayerBuild;
pub use partial::{IngestBusy, IngestState};
pub use records::{ContainerRecord, ImageRecord, LayerRecord, NewImage, RootMounts, VolumeRecord};
pub use repair::Mended;
pub use salvage::{Salvaged, salvage};
pub use store::{Store, StoreOptions};
pub use upload::UploadNote;
pub use usage::{DiskUsage, ImageUsage, tree_bytes};
