//! Where the program begins: before libc, before relocations (elf(5), `e_entry`).
//!
//! A runtime must execute itself a second time, from a file nobody can open for writing (CVE-2019-5736, [`self_exe`]). Done in
//! `main` that pays for the start of a static program twice: libc asks the processor for its caches, which a virtual machine
//! answers slowly, and half a megabyte of relocations is written; together about a millisecond, a fifth of a whole `run`.
//! Done here, as the very first instructions, it costs two system calls and the execution.
//!
//! ```text
//! called runc, crun or knarr-runtime, or argv[1] is "runtime"?   no ─► _start
//! another word is create, run, exec or restore?                  no ─► _start
//! statfs(/proc/self/exe) says read-only?                         yes ─► _start: this is the second time
//! open_tree, mount_setattr, execveat(fd, "", argv, envp)         any failure ─► _start
//! ```
//!
//! A runtime's applet then begins without libc's questions about the processor (`knarr_libc_start`): some seventy `cpuid`, each of which a
//! virtual machine hands to its host, 1.5 µs on a good day and 33 µs on a guest of a guest, to choose a `memcpy` for kilobytes.
//! libc keeps its defaults instead, which run everywhere. This is written for the start of glibc 2.36 (csu/libc-start.c, static), from
//! whose parts it is made; `build.rs` looks for that version, and with any other the way leads through `_start` as before.
//!
//! Law: a shortcut and nothing more. Whatever goes wrong here leads to libc's `_start` with the stack as the kernel left it, and
//! the applet's own check then does the same at leisure, or a sealed copy. Words are compared eight bytes at a time; the
//! kernel leaves at least that many behind the last string. A container called `run` makes it protect itself for nothing.
//! Not here: other architectures than x86-64; they take the longer way.
//!
//! Programs that want it link with `-e knarr_start` (`build.rs` of knarr and knarr-runtime).
//!
//! [`self_exe`]: crate::self_exe

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
std::arch::global_asm!(
    r#"
    .pushsection .text.knarr_start, "ax", @progbits
    .globl knarr_start
    .hidden __ehdr_start
    .hidden _end
    .type knarr_start, @function
    .balign 16
knarr_start:
    .cfi_startproc
    .cfi_undefined rip
    mov r12, rsp                        // argc, argv…, 0, envp…: as libc wants to find it
    mov r13, rdx
    mov rbx, [rsp]                      // argc
    lea rbp, [rsp + 8]                  // argv
    xor r15d, r15d                      // no runtime
    cmp rbx, 2
    jb 9f

    // The last part of argv[0].
    mov rsi, [rbp]
20: mov rdi, rsi
2:  mov al, [rsi]
    inc rsi
    cmp al, '/'
    je 20b
    test al, al
    jne 2b
    mov r15d, 1                         // the first word that may be a command
    mov rax, [rdi]
    mov rcx, rax
    shl rcx, 24
    movabs rdx, {runc}
    cmp rcx, rdx
    je 3f
    movabs rdx, {crun}
    cmp rcx, rdx
    je 3f
    movabs rdx, {knarr_ru}
    cmp rax, rdx
    jne 4f
    mov rcx, [rdi + 8]
    shl rcx, 16
    movabs rdx, {ntime}
    cmp rcx, rdx
    je 3f
4:  xor r15d, r15d
    mov rdi, [rbp + 8]
    mov rax, [rdi]
    movabs rdx, {runtime}
    cmp rax, rdx
    jne 9f
    mov r15d, 2

    // A word that is a command which enters a container.
3:  cmp r15, rbx
    jae 9f
    mov rdi, [rbp + r15*8]
    inc r15
    mov rax, [rdi]
    cmp eax, {run}
    je 5f
    mov rcx, rax
    shl rcx, 24
    movabs rdx, {exec}
    cmp rcx, rdx
    je 5f
    mov rcx, rax
    shl rcx, 8
    movabs rdx, {create}
    cmp rcx, rdx
    je 5f
    movabs rdx, {restore}
    cmp rax, rdx
    jne 3b

5:  sub rsp, 256                        // struct statfs has 120 bytes, struct mount_attr 32
    lea r14, [rip + 7f]
    mov eax, {SYS_statfs}
    mov rdi, r14
    mov rsi, rsp
    syscall
    test rax, rax
    jnz 9f
    test byte ptr [rsp + 80], {ST_RDONLY}   // f_flags
    jnz 9f
    mov eax, {SYS_open_tree}
    mov edi, {AT_FDCWD}
    mov rsi, r14
    mov edx, {OPEN_TREE_CLONE} | {O_CLOEXEC}
    syscall
    test eax, eax
    js 9f
    mov r14d, eax
    mov qword ptr [rsp], {MOUNT_ATTR_RDONLY}
    mov qword ptr [rsp + 8], 0
    mov qword ptr [rsp + 16], 0
    mov qword ptr [rsp + 24], 0
    mov eax, {SYS_mount_setattr}
    mov edi, r14d
    lea rsi, [rip + 8f]
    mov edx, {AT_EMPTY_PATH}
    mov r10, rsp
    mov r8d, 32
    syscall
    test rax, rax
    jnz 6f
    mov eax, {SYS_execveat}
    mov edi, r14d
    lea rsi, [rip + 8f]
    mov rdx, rbp
    lea r10, [rbp + rbx*8 + 8]
    mov r8d, {AT_EMPTY_PATH}
    syscall
6:  mov eax, {SYS_close}
    mov edi, r14d
    syscall

    // Where relocations and variables will be written: one call instead of a fault for each of a hundred pages.
9:  lea rsi, [rip + __ehdr_start]
    movzx ecx, word ptr [rsi + 56]      // e_phnum
    mov rdi, [rsi + 32]                 // e_phoff
    add rdi, rsi
21: dec ecx
    js 23f
    cmp dword ptr [rdi], {PT_GNU_RELRO}
    je 22f
    add rdi, 56
    jmp 21b
22: add rsi, [rdi + 16]                 // p_vaddr
    mov rdi, rsi
    and rdi, -4096
    lea rsi, [rip + _end]
    sub rsi, rdi
    mov edx, {MADV_POPULATE_WRITE}
    mov eax, {SYS_madvise}
    syscall
    test r15d, r15d
    jz 23f
    lea rdi, [r12 - {STACK_BYTES}]      // what a runtime needs of the stack; the kernel made room for more
    and rdi, -4096
    mov esi, {STACK_BYTES}
    mov edx, {MADV_POPULATE_WRITE}
    mov eax, {SYS_madvise}
    syscall
23: mov rsp, r12
    mov rdx, r13
    test r15d, r15d
    jnz knarr_libc_start
    jmp _start
    .cfi_endproc
    .size knarr_start, . - knarr_start
7:  .asciz "/proc/self/exe"
8:  .asciz ""
    .popsection
"#,
    runc = const word(b"runc") << 24,
    crun = const word(b"crun") << 24,
    knarr_ru = const word(b"knarr-ru"),
    ntime = const word(b"ntime") << 16,
    runtime = const word(b"runtime"),
    run = const word(b"run"),
    exec = const word(b"exec") << 24,
    create = const word(b"create") << 8,
    restore = const word(b"restore"),
    SYS_statfs = const libc::SYS_statfs,
    SYS_open_tree = const libc::SYS_open_tree,
    SYS_mount_setattr = const libc::SYS_mount_setattr,
    SYS_execveat = const libc::SYS_execveat,
    SYS_close = const libc::SYS_close,
    SYS_madvise = const libc::SYS_madvise,
    PT_GNU_RELRO = const libc::PT_GNU_RELRO,
    STACK_BYTES = const 88 << 10,
    MADV_POPULATE_WRITE = const libc::MADV_POPULATE_WRITE,
    ST_RDONLY = const libc::ST_RDONLY,
    AT_FDCWD = const libc::AT_FDCWD,
    AT_EMPTY_PATH = const libc::AT_EMPTY_PATH,
    OPEN_TREE_CLONE = const libc::OPEN_TREE_CLONE,
    O_CLOEXEC = const libc::O_CLOEXEC,
    MOUNT_ATTR_RDONLY = const libc::MOUNT_ATTR_RDONLY,
);

// What `_start` and `__libc_start_main` do, in their order, but for the processor's features: unknown (`arch_kind_other`), so that each
// function with several versions is the one that runs everywhere. What copies must know of the caches are libc's own defaults where it
// has them; the threshold of stores past the cache it has not, and gets three quarters of a megabyte. A privileged program (AT_SECURE)
// goes the long way.
#[cfg(all(target_os = "linux", target_arch = "x86_64", glibc_start))]
std::arch::global_asm!(
    r#"
    .pushsection .text.knarr_libc_start, "ax", @progbits
    .type knarr_libc_start, @function
    .weak __rela_iplt_start
    .weak __rela_iplt_end
    .balign 16
knarr_libc_start:
    .cfi_startproc
    .cfi_undefined rip
    xor ebp, ebp
    mov r12, rsp
    mov r15, [rsp]                      // argc
    lea r13, [rsp + 8]                  // argv
    and rsp, -16
    lea rdi, [r13 + r15*8 + 8]
    mov [rip + __environ], rdi
    mov [rip + __libc_stack_end], r12
2:  add rdi, 8
    cmp qword ptr [rdi - 8], 0
    jne 2b
    call _dl_aux_init
    cmp dword ptr [rip + __libc_enable_secure], 0
    jne 9f
    mov rdi, [rip + __environ]
    call __tunables_init
    mov dword ptr [rip + _dl_x86_cpu_features], {arch_kind_other}
    mov qword ptr [rip + _dl_hwcap], {HWCAP_X86_64}
    mov qword ptr [rip + __x86_shared_non_temporal_threshold], 0xc0000
    mov qword ptr [rip + __x86_rep_movsb_stop_threshold], 0xc0000
    call _dl_relocate_static_pie
    mov rbx, [rip + __rela_iplt_start@GOTPCREL]
    mov r14, [rip + __rela_iplt_end@GOTPCREL]
3:  cmp rbx, r14
    jae 4f
    call qword ptr [rbx + 16]                 // r_addend: who chooses the version
    mov rdx, [rbx]                      // r_offset: where it is looked up
    mov [rdx], rax
    add rbx, 24
    jmp 3b
4:  call __libc_setup_tls
    mov rdx, [rip + _dl_random]
    mov rax, [rdx]
    xor al, al
    mov fs:[0x28], rax                  // the canary of stacks, whose first byte ends strings
    mov rax, [rdx + 8]
    mov fs:[0x30], rax                  // the guard of stored pointers
    mov edi, 1
    call __libc_early_init
    mov rdx, [rip + __environ]
    mov rsi, r13
    mov edi, r15d
    call __libc_init_first
    call _init
    lea rbx, [rip + __init_array_start]
    lea r14, [rip + __init_array_end]
5:  cmp rbx, r14
    jae 6f
    mov rdx, [rip + __environ]
    mov rsi, r13
    mov edi, r15d
    call qword ptr [rbx]
    add rbx, 8
    jmp 5b
6:  mov rdx, [rip + __environ]
    mov rsi, r13
    mov edi, r15d
    call main
    mov edi, eax
    call exit
    ud2
9:  mov rsp, r12
    xor edx, edx
    jmp _start
    .cfi_endproc
    .size knarr_libc_start, . - knarr_libc_start
    .popsection
"#,
    arch_kind_other = const 4,
    HWCAP_X86_64 = const 2,
);

#[cfg(all(target_os = "linux", target_arch = "x86_64", not(glibc_start)))]
std::arch::global_asm!(
    r#"
    .pushsection .text.knarr_libc_start, "ax", @progbits
knarr_libc_start:
    jmp _start
    .popsection
"#
);

/// A word of up to eight letters as the processor loads it, what follows being zero.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
const fn word(letters: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let mut at = 0;
    while at < letters.len() {
        bytes[at] = letters[at];
        at += 1;
    }
    u64::from_le_bytes(bytes)
}
