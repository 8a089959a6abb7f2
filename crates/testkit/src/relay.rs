//! A wire to a server that stops carrying after so many bytes: what a client sent hangs on its way.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// What the threads share.
#[derive(Default)]
struct Wire {
    to: String,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Bytes of clients that may still pass.
    left: u64,
    carried: u64,
    /// Counted up when everything that hangs is cut off.
    cuts: u64,
    closed: bool,
}

/// A relay to another address; stops on drop.
pub struct Relay {
    /// `127.0.0.1:PORT`.
    pub address: String,
    wire: Arc<Wire>,
}

impl Relay {
    /// Carries everything to `to`, until clients have sent `bytes`.
    pub fn start(to: &str, bytes: u64) -> io::Result<Relay> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let state = Mutex::new(State { left: bytes, ..State::default() });
        let wire = Arc::new(Wire { to: to.to_owned(), state, ..Wire::default() });
        let shared = Arc::clone(&wire);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if shared.lock().closed {
                    return;
                }
                let wire = Arc::clone(&shared);
                std::thread::spawn(move || client.and_then(|client| wire.connect(client)).is_ok());
            }
        });
        Ok(Relay { address, wire })
    }

    /// Where it leads.
    pub fn to(&self) -> &str {
        &self.wire.to
    }

    /// Bytes of clients that passed.
    pub fn carried(&self) -> u64 {
        self.wire.lock().carried
    }

    /// Waits until nothing more may pass.
    pub fn wait_until_it_hangs(&self) {
        let hangs = |state: &mut State| state.left > 0;
        let (_state, waited) =
            self.wire.changed.wait_timeout_while(self.wire.lock(), crate::wait::patience(), hangs).expect("no panic");
        assert!(!waited.timed_out(), "clients did not send what the relay was to carry");
    }

    /// Cuts off what hangs, and lets everything pass from now on.
    pub fn cut_and_open(&self) {
        let mut state = self.wire.lock();
        (state.left, state.cuts) = (u64::MAX, state.cuts + 1);
        self.wire.changed.notify_all();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.wire.lock().closed = true;
        self.wire.changed.notify_all();
        let _ = TcpStream::connect(&self.address);
    }
}

impl Wire {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while it is held")
    }

    fn connect(&self, client: TcpStream) -> io::Result<()> {
        let server = TcpStream::connect(&self.to)?;
        let (mut answers, mut back) = (server.try_clone()?, client.try_clone()?);
        std::thread::spawn(move || {
            let _ = io::copy(&mut answers, &mut back);
            let _ = back.shutdown(Shutdown::Both);
        });
        let carried = self.carry(client, &server);
        let _ = server.shutdown(Shutdown::Both);
        carried
    }

    fn carry(&self, mut from: TcpStream, mut to: &TcpStream) -> io::Result<()> {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let got = from.read(&mut buffer)?;
            let Some(passes) = (got > 0).then(|| self.take(got as u64)).flatten() else { return Ok(()) };
            to.write_all(&buffer[..passes as usize])?;
            if passes < got as u64 {
                self.hang();
                return Ok(());
            }
        }
    }

    /// How many of `bytes` may pass; `None` where it is all over.
    fn take(&self, bytes: u64) -> Option<u64> {
        let mut state = self.lock();
        let passes = state.left.min(bytes);
        state.left -= passes;
        state.carried += passes;
        self.changed.notify_all();
        (!state.closed).then_some(passes)
    }

    fn hang(&self) {
        let state = self.lock();
        let cuts = state.cuts;
        let hanging = |state: &mut State| state.cuts == cuts && !state.closed;
        drop(self.changed.wait_while(state, hanging).expect("no panic while it is held"));
    }
}
