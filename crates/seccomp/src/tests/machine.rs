//! The kernel's side: a program run on one call, instruction by instruction.

/// One system call as the filter sees it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Call {
    pub nr: u32,
    pub arch: u32,
    pub args: [u64; 6],
    /// Words stand as on a big-endian machine.
    pub big_endian: bool,
}

/// The answer, and how many instructions it took. Panics on what the kernel's checker would refuse.
pub fn run(program: &[u64], call: &Call) -> (u32, usize) {
    let (mut at, mut steps, mut a) = (0usize, 0usize, 0u32);
    loop {
        let [c0, c1, jt, jf, k0, k1, k2, k3] = program[at].to_ne_bytes();
        let (code, k) = (u16::from_ne_bytes([c0, c1]), u32::from_ne_bytes([k0, k1, k2, k3]));
        let jump = |taken: bool| if taken { jt as usize } else { jf as usize };
        steps += 1;
        at += 1;
        match code {
            0x20 => a = call.word(k),
            0x05 => at += k as usize,
            0x15 => at += jump(a == k),
            0x25 => at += jump(a > k),
            0x35 => at += jump(a >= k),
            0x45 => at += jump(a & k != 0),
            0x54 => a &= k,
            0x06 => return (k, steps),
            _ => panic!("instruction {} has code {code:#x}", at - 1),
        }
    }
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.nr,
            4 => self.arch,
            16..=60 if offset.is_multiple_of(4) => {
                let arg = self.args[(offset as usize - 16) / 8];
                let second = offset % 8 == 4;
                if second != self.big_endian { (arg >> 32) as u32 } else { arg as u32 }
            }
            _ => panic!("load from {offset}"),
        }
    }
}
