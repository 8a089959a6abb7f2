//! Unpacks a layer file into an empty directory and prints the report: `unpack LAYER DIRECTORY [direct]`. For measuring.

use std::path::Path;
use std::time::Instant;

use knarr_layer::{IdMap, Limits, Owners, UnpackOptions, WhiteoutForm, unpack};
use knarr_sys::Root;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, layer, directory, rest @ ..] = &arguments[..] else {
        return Err("usage: unpack LAYER DIRECTORY [direct]".into());
    };
    let options = UnpackOptions {
        compression: None,
        whiteouts: WhiteoutForm::OverlayTrusted,
        ids: IdMap::identity(),
        owners: Owners::Set,
        limits: Limits::default(),
        rootless: false,
        pipeline: rest.is_empty(),
    };
    let start = Instant::now();
    let report = unpack(std::fs::File::open(layer)?, &Root::open(Path::new(directory))?, &options)?;
    println!(
        "{:.3} s {} entries {} bytes {}",
        start.elapsed().as_secs_f64(),
        report.entries,
        report.tar_bytes,
        report.diff_id
    );
    Ok(())
}
