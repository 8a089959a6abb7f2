//! Docker's exit codes of `run` and `exec`.

/// We failed: bad options, no image, no room.
pub const OURS: u8 = 125;
/// The program is there but cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// The program is not there.
pub const NOT_FOUND: u8 = 127;
/// Added to the number of the signal that ended a program.
pub const SIGNAL_BASE: u8 = 128;
/// Of every other command that failed.
pub const FAILED: u8 = 1;
