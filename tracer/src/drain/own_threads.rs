//! The tracer's own threads: how many are there, and whether the kernel still has them.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::process::sandbox;
use crate::system_call;

/// The collector and the compressor.
const MOST: usize = 2;

/// Those of one process.
#[derive(Debug, Default)]
pub(crate) struct OwnThreads {
    /// How many are about to start or run: counted by who starts one, taken back by the thread itself.
    running: AtomicU32,
    /// The kernel's ids of those that ever ran; 0 is none.
    ids: [AtomicU32; MOST],
}

impl OwnThreads {
    /// How many run.
    pub(crate) fn count(&self) -> u32 {
        self.running.load(Ordering::Relaxed) // A figure.
    }

    /// One is about to be started, unless none may be any more.
    pub(super) fn announce(&self) -> bool {
        // SeqCst, as where none is wanted any more: either that is seen here, or this is seen there.
        self.running.fetch_add(1, Ordering::SeqCst);
        if sandbox::threads_must_end() {
            self.withdraw();
            return false;
        }
        true
    }

    /// What was announced did not start, or makes no system call any more but what ends a thread.
    pub(super) fn withdraw(&self) {
        self.running.fetch_sub(1, Ordering::Release); // With the id, which was stored before.
    }

    /// To be called by each first.
    pub(super) fn enter(&self) {
        let id = system_call::thread_id();
        for place in &self.ids {
            // Relaxed: published by `withdraw`.
            if place.compare_exchange(0, id, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return;
            }
        }
    }

    /// Whether none is there any more: ended, and gone from the kernel's list too, because libc makes
    /// system calls to end a thread.
    pub(crate) fn are_gone(&self, pid: u32) -> bool {
        self.running.load(Ordering::SeqCst) == 0
            && self.ids.iter().all(|place| {
                let id = place.load(Ordering::Relaxed); // Ordered by the line above.
                id == 0 || !system_call::thread_exists(pid, id)
            })
    }
}
