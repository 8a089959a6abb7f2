//! What a layer may cost. A layer comes from a stranger: each number here has a reason, and each refusal names it.

/// Bounds on one layer. The defaults hold every honest image we know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the uncompressed tar. 1 TiB: the largest model images carry some hundred GB in a layer; what lies beyond
    /// is a mistake or an attack on the disk.
    pub tar_bytes_max: u64,
    /// Entries of the tar. 16 million: ten times the largest known (a monorepo's `node_modules`); each costs an inode, and
    /// each directory some 100 bytes of memory until the end of the layer.
    pub entries_max: u64,
    /// Bytes of an entry's name or link target. 4095: what the kernel takes (`PATH_MAX` without its NUL).
    pub path_bytes_max: usize,
    /// Bytes of one extended header (pax, GNU long name), which is held in memory. 1 MiB, as Go's archive/tar has it.
    pub extended_header_bytes_max: usize,
    /// Bytes of all extended attributes of one entry, names and values. 1 MiB; ext4 takes 64 KiB by itself.
    pub xattr_bytes_max: usize,
    /// Pieces of a sparse file. A million: 16 MB of memory, a file of 4 GiB with a hole behind each block.
    pub sparse_pieces_max: usize,
    /// How many times larger than its blob a layer may unpack. Deflate reaches 1032 with nothing but zeros; file systems
    /// of real images stay below 20.
    pub expansion_max: u64,
    /// Bytes that unpack before `expansion_max` is looked at, so that a small image may well be one file of zeros. 4 GiB.
    pub expansion_free_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            tar_bytes_max: 1 << 40,
            entries_max: 16 << 20,
            path_bytes_max: knarr_sys::in_root::IN_ROOT_BYTES_MAX,
            extended_header_bytes_max: 1 << 20,
            xattr_bytes_max: 1 << 20,
            sparse_pieces_max: 1 << 20,
            expansion_max: 1000,
            expansion_free_bytes: 4 << 30,
        }
    }
}
