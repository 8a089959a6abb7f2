//! The store from outside: one file per noun, and what must hold when processes die or the disk fills.

mod blobs;
mod children;
mod containers;
mod crashes;
mod damage;
mod documents;
mod dropped;
mod full_disk;
mod garbage;
mod images;
mod implied;
mod layers;
mod opening;
mod sharing;
mod snapshots;
mod support;
mod uploads;
mod usage;
mod volumes;
