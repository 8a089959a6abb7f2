//! The kernel edge: the only unsafe code, one file per man page.
