//! One root, one database: blobs, images, layers, snapshots and the records of containers.
#![forbid(unsafe_code)]
