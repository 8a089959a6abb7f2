//! Which functions of a program run: `functions PROGRAM LIST COMMAND…` runs the command with a breakpoint at each place in LIST (lines
//! `ADDRESS …`, hexadecimal, as nm prints them) in every process that executes PROGRAM, and prints the addresses that were reached, in
//! the order of the first time.
//!
//! Used by `cargo xtask order`. PROGRAM is position independent and has its first segment at address 0.
#![forbid(unsafe_code)]

#[cfg(not(target_arch = "x86_64"))]
fn main() {
    eprintln!("only for x86-64");
}

#[cfg(target_arch = "x86_64")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracer::run()
}

#[cfg(target_arch = "x86_64")]
mod tracer {
    use std::collections::HashMap;
    use std::error::Error;
    use std::fs::{self, File};
    use std::os::unix::fs::{FileExt, MetadataExt};
    use std::process::Command;

    use knarr_sys::ptrace::{self, Stop};

    /// int3.
    const BREAKPOINT: [u8; 1] = [0xcc];

    struct Tracer {
        /// Device and inode of the program.
        program: (u64, u64),
        /// What stands at each address in the file.
        places: HashMap<u64, u8>,
        /// Where the program begins in each process that executes it.
        begins: HashMap<u32, u64>,
        reached: Vec<u64>,
    }

    pub fn run() -> Result<(), Box<dyn Error>> {
        let mut words = std::env::args_os().skip(1);
        let (program, list) = (words.next().ok_or("PROGRAM?")?, words.next().ok_or("LIST?")?);
        let metadata = fs::metadata(&program)?;
        let mut tracer = Tracer {
            program: (metadata.dev(), metadata.ino()),
            places: HashMap::new(),
            begins: HashMap::new(),
            reached: Vec::new(),
        };
        let addresses = fs::read_to_string(list)?;
        let addresses = addresses.lines().filter_map(|line| u64::from_str_radix(line.split(' ').next()?, 16).ok());
        tracer.places = addresses.map(|address| (address, 0)).collect();

        // It stops itself until we trace it.
        let mut command = Command::new("sh");
        let child = command.args(["-c", "kill -STOP $$; exec \"$0\" \"$@\""]).args(words).spawn()?;
        let state = || fs::read_to_string(format!("/proc/{}/stat", child.id()));
        while !state()?.contains(") T ") {
            std::thread::yield_now();
        }
        ptrace::seize(child.id())?;
        Command::new("kill").args(["-CONT", &child.id().to_string()]).spawn()?;
        while let Some((pid, stop)) = ptrace::wait()? {
            let signal = match stop {
                Stop::Ended => continue,
                Stop::Executed => tracer.executed(pid)?,
                Stop::Trap => tracer.trap(pid)?,
                Stop::Event => 0,
                Stop::Signal(signal) => signal,
            };
            // One that was killed meanwhile is told as ended next.
            let _ = ptrace::resume(pid, signal);
        }
        tracer.reached.iter().for_each(|address| println!("{address:x}"));
        Ok(())
    }

    impl Tracer {
        /// Puts a breakpoint at every place.
        fn executed(&mut self, pid: u32) -> Result<i32, Box<dyn Error>> {
            self.begins.remove(&pid);
            let Ok(metadata) = fs::metadata(format!("/proc/{pid}/exe")) else { return Ok(0) };
            if (metadata.dev(), metadata.ino()) != self.program {
                return Ok(0);
            }
            let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
            let begin = maps.lines().find(|line| line.contains(&format!(" {} ", self.program.1)));
            let begin = begin.and_then(|line| line.split('-').next()).ok_or("the program is not in its own memory")?;
            let begin = u64::from_str_radix(begin, 16)?;
            let memory = memory(pid)?;
            for (address, byte) in &mut self.places {
                let mut found = [0];
                memory.read_exact_at(&mut found, begin + address)?;
                *byte = found[0];
                memory.write_all_at(&BREAKPOINT, begin + address)?;
            }
            self.begins.insert(pid, begin);
            Ok(0)
        }

        /// Takes the breakpoint away and goes back to where it stood.
        fn trap(&mut self, pid: u32) -> Result<i32, Box<dyn Error>> {
            // A child that was just cloned has its parent's memory.
            let begin = self.begins.get(&pid).copied().or_else(|| self.begins.values().next().copied()).unwrap_or(0);
            let mut reached = None;
            ptrace::instruction_pointer(pid, |pointer| {
                let place = pointer.wrapping_sub(1);
                reached = self.places.get(&place.wrapping_sub(begin)).map(|byte| (place, *byte));
                reached.map(|(place, _)| place)
            })?;
            let Some((place, byte)) = reached else { return Ok(SIGTRAP) };
            memory(pid)?.write_all_at(&[byte], place)?;
            let address = place - begin;
            if !self.reached.contains(&address) {
                self.reached.push(address);
            }
            Ok(0)
        }
    }

    fn memory(pid: u32) -> Result<File, std::io::Error> {
        File::options().read(true).write(true).open(format!("/proc/{pid}/mem"))
    }

    const SIGTRAP: i32 = 5;
}
