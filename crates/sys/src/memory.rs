//! Giving memory back: malloc_trim(3), madvise(2), dl_iterate_phdr(3). For a process that begins busily and then waits for days.
//! And taking it at once: for one that lives for milliseconds.

use std::ffi::c_void;

/// Returns the pages of freed memory to the kernel.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes an integer; glibc locks its arenas itself.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Makes `bytes` of heap (less than a megabyte) present and keeps what is freed of it: one call to the kernel instead of a fault for each page, of which a fault
/// costs several times a page that is made in passing. A kernel before 5.14 cannot; then the pages come as they are needed.
pub fn reserve_heap(bytes: usize) {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) takes integers. The block is ours until it is freed; its whole pages are made present, which changes nothing.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
        let block = libc::malloc(bytes);
        let page = libc::sysconf(libc::_SC_PAGESIZE) as usize;
        let whole = block.align_offset(page);
        if !block.is_null() && whole < bytes {
            libc::madvise(block.byte_add(whole), (bytes - whole) / page * page, libc::MADV_POPULATE_WRITE);
        }
        libc::free(block);
    }
}

/// Lets go of the pages of the program's code and constants: those needed again come back from the page cache, those only the
/// beginning needed do not. Writable segments, which hold changed pages, are left alone.
pub fn forget_program() {
    // SAFETY: the callback takes what dl_iterate_phdr(3) gives and no data.
    unsafe { libc::dl_iterate_phdr(Some(forget_object), std::ptr::null_mut()) };
}

extern "C" fn forget_object(info: *mut libc::dl_phdr_info, _: usize, _: *mut c_void) -> libc::c_int {
    // SAFETY: dl_iterate_phdr(3) passes a valid structure whose header table stays mapped as long as the object is loaded.
    let (base, headers) = unsafe {
        let info = &*info;
        if info.dlpi_phdr.is_null() {
            return 0;
        }
        (info.dlpi_addr, std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()))
    };
    for header in headers.iter().filter(|h| h.p_type == libc::PT_LOAD && h.p_flags & libc::PF_W == 0) {
        forget_pages(base + header.p_vaddr, header.p_memsz);
    }
    // The first object is the program; what follows is the vDSO, which is no file, and may be linked to addresses that
    // only make sense wrapped around (user-mode Linux). A value other than 0 ends the walk.
    1
}

/// The whole pages of a range that maps an unchanged file.
fn forget_pages(start: u64, length: u64) {
    // SAFETY: takes an integer; the page size is always known.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64;
    let (first, end) = (start.next_multiple_of(page), (start + length) / page * page);
    if first < end {
        // SAFETY: a read-only segment of the program is a private mapping of its file that nobody has changed, so that the
        // pages read in again are the same; what relocations changed lies in writable segments.
        unsafe { libc::madvise(first as *mut c_void, (end - first) as usize, libc::MADV_DONTNEED) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resident_kb() -> u64 {
        let text = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn the_program_goes_on_after_its_pages_are_forgotten() {
        let before = resident_kb();
        trim_heap();
        forget_program();
        let after = resident_kb();
        assert!(after < before, "{before} kB before, {after} kB after");
    }
}
