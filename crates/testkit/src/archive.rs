//! Tars on disk: of a directory, or of a list of files.

use std::fs::File;
use std::io;
use std::path::Path;

/// Writes the tree below `directory` to `path`, names sorted as the file system gives them.
pub fn of_directory(directory: &Path, path: &Path) -> io::Result<()> {
    let mut tar = tar::Builder::new(File::create(path)?);
    tar.append_dir_all(".", directory)?;
    tar.finish()
}

/// Writes regular files with the given names to `path`.
pub fn of_files(files: &[(String, &[u8])], path: &Path) -> io::Result<()> {
    let mut tar = tar::Builder::new(File::create(path)?);
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, *content)?;
    }
    tar.finish()
}
