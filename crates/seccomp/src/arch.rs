//! What a filter must know of an architecture: its audit number, its numbering of calls, its word order.

use knarr_spec::runtime::Arch;

use crate::table::{Column, Row, X};

/// Set in the number of every x32 call; the kernel reports them under the audit number of x86_64.
pub(crate) const X32_BIT: u32 = 1 << 30;
/// Where ARM's private calls start (`__ARM_NR_BASE`).
const ARM_PRIVATE: u32 = 0x0f_0000;
/// `table` writes them from here.
const ARM_PRIVATE_IN_TABLE: u16 = 0xf000;

/// One calling convention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Abi {
    /// Its name in the runtime-spec.
    pub arch: Arch,
    /// Its column in the table.
    pub column: Column,
    /// Added to the table's number.
    base: u32,
    /// Registers have 64 bits; otherwise arguments are compared as 32 bit, as libseccomp does.
    pub wide: bool,
    /// The high word of an argument comes first.
    pub big_endian: bool,
}

impl Abi {
    /// What `seccomp_data.arch` holds: the runtime-spec type has the kernel's own numbers, except for x32.
    pub(crate) fn audit(&self) -> u32 {
        match self.arch {
            Arch::ScmpArchX32 => Arch::ScmpArchX86_64 as u32,
            arch => arch as u32,
        }
    }

    /// The number this convention passes for a row of the table.
    pub(crate) fn number(&self, row: &Row) -> Option<u32> {
        match row.1[self.column as usize] {
            X => None,
            private @ ARM_PRIVATE_IN_TABLE.. => Some(ARM_PRIVATE + u32::from(private - ARM_PRIVATE_IN_TABLE)),
            number => Some(self.base + u32::from(number)),
        }
    }
}

/// Shorthand for the table below.
const fn abi(arch: Arch, column: Column, base: u32, wide: bool, big_endian: bool) -> Abi {
    Abi { arch, column, base, wide, big_endian }
}

/// Looks an architecture up; `None` for `SCMP_ARCH_NATIVE`, which the caller must have resolved.
pub(crate) fn find(arch: Arch) -> Option<&'static Abi> {
    ABIS.iter().find(|abi| abi.arch == arch)
}

/// The 23 architectures of the runtime-spec.
static ABIS: [Abi; 23] = [
    abi(Arch::ScmpArchX86, Column::X86, 0, false, false),
    abi(Arch::ScmpArchX86_64, Column::X86_64, 0, true, false),
    abi(Arch::ScmpArchX32, Column::X32, X32_BIT, false, false),
    abi(Arch::ScmpArchArm, Column::Arm, 0, false, false),
    abi(Arch::ScmpArchAarch64, Column::Aarch64, 0, true, false),
    abi(Arch::ScmpArchLoongarch64, Column::Loongarch64, 0, true, false),
    abi(Arch::ScmpArchM68k, Column::M68k, 0, false, true),
    abi(Arch::ScmpArchMips, Column::Mips, 4000, false, true),
    abi(Arch::ScmpArchMips64, Column::Mips64, 5000, true, true),
    abi(Arch::ScmpArchMips64n32, Column::Mips64n32, 6000, false, true),
    abi(Arch::ScmpArchMipsel, Column::Mips, 4000, false, false),
    abi(Arch::ScmpArchMipsel64, Column::Mips64, 5000, true, false),
    abi(Arch::ScmpArchMipsel64n32, Column::Mips64n32, 6000, false, false),
    abi(Arch::ScmpArchParisc, Column::Parisc, 0, false, true),
    abi(Arch::ScmpArchParisc64, Column::Parisc64, 0, true, true),
    abi(Arch::ScmpArchPpc, Column::Ppc, 0, false, true),
    abi(Arch::ScmpArchPpc64, Column::Ppc64, 0, true, true),
    abi(Arch::ScmpArchPpc64le, Column::Ppc64, 0, true, false),
    abi(Arch::ScmpArchRiscv64, Column::Riscv64, 0, true, false),
    abi(Arch::ScmpArchS390, Column::S390, 0, false, true),
    abi(Arch::ScmpArchS390x, Column::S390x, 0, true, true),
    abi(Arch::ScmpArchSh, Column::Sh, 0, false, false),
    abi(Arch::ScmpArchSheb, Column::Sh, 0, false, true),
];

/// The architecture this binary was compiled for.
pub(crate) const NATIVE: Option<Arch> = {
    let little = cfg!(target_endian = "little");
    let n32 = cfg!(target_pointer_width = "32");
    match (std::env::consts::ARCH.as_bytes(), little) {
        (b"x86_64", _) => Some(if n32 { Arch::ScmpArchX32 } else { Arch::ScmpArchX86_64 }),
        (b"x86", _) => Some(Arch::ScmpArchX86),
        (b"aarch64", true) => Some(Arch::ScmpArchAarch64),
        (b"arm", true) => Some(Arch::ScmpArchArm),
        (b"loongarch64", _) => Some(Arch::ScmpArchLoongarch64),
        (b"m68k", _) => Some(Arch::ScmpArchM68k),
        (b"mips", false) => Some(Arch::ScmpArchMips),
        (b"mips", true) => Some(Arch::ScmpArchMipsel),
        (b"mips64", false) => Some(if n32 { Arch::ScmpArchMips64n32 } else { Arch::ScmpArchMips64 }),
        (b"mips64", true) => Some(if n32 { Arch::ScmpArchMipsel64n32 } else { Arch::ScmpArchMipsel64 }),
        (b"powerpc", false) => Some(Arch::ScmpArchPpc),
        (b"powerpc64", false) => Some(Arch::ScmpArchPpc64),
        (b"powerpc64", true) => Some(Arch::ScmpArchPpc64le),
        (b"riscv64", _) => Some(Arch::ScmpArchRiscv64),
        (b"s390x", _) => Some(Arch::ScmpArchS390x),
        _ => None,
    }
};

/// Every architecture, for tests that must hold on each.
#[cfg(test)]
pub(crate) fn all() -> Vec<Arch> {
    ABIS.iter().map(|abi| abi.arch).collect()
}
