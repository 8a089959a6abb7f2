//! Where the clients of stores outside this machine run: a runtime of their own, so that a blocking call never waits for a
//! thread that serves requests.

use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};

/// Threads that move bytes to and from the stores.
const THREADS: usize = 2;

/// The runtime; clones share it.
#[derive(Clone)]
pub struct Driver(Arc<Owned>);

struct Owned(Option<Runtime>);

impl Drop for Owned {
    /// The last to go may be a request's task, which must not wait.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Driver {
    pub fn new() -> std::io::Result<Driver> {
        let runtime = Builder::new_multi_thread().worker_threads(THREADS).thread_name("stores").enable_all().build()?;
        Ok(Driver(Arc::new(Owned(Some(runtime)))))
    }

    /// Waits for `work`. Not for threads that run async code.
    pub fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.handle().block_on(work)
    }

    pub fn handle(&self) -> &tokio::runtime::Handle {
        self.0.0.as_ref().expect("only its end takes it").handle()
    }
}
