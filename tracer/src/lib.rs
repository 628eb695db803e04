//! `libtftrace.so`: records the allocations of the process it is preloaded into.
//!
//! Two halves. *Hooks* run inside the host's calls: [`exports`] forward them, [`record`] says what
//! they mean, [`sampling`] which are left out, [`capture`] and [`stack_table`] who made them,
//! [`python`] and [`tensorflow`] what the stack alone does not tell, [`cuda`] what happens on a GPU,
//! and [`spool`] puts them into pages of the trace file. The *drain*
//! compresses full pages, samples memory and gives back the slots of dead threads, in threads of
//! its own, which a hook only starts.
//!
//! On the hook path: no lock, no allocation from the host's heap, no panic, and no system call but
//! in set-up and in what `docs/design.md` lists as its exceptions.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
// A test build exports no hook, so nothing in it reaches them.
#![cfg_attr(test, allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing))]

mod arch;
mod c_api;
mod capture;
mod clock;
mod cuda;
mod drain;
mod exports;
mod id_table;
mod own_mappings;
mod own_memory;
mod process;
mod python;
mod real;
mod record;
mod sampling;
mod spool;
mod stack_table;
mod stand_in;
mod system_call;
mod tensorflow;
mod thread;

#[cfg(not(test))]
#[global_allocator]
static OWN_MEMORY: own_memory::OwnMemory = own_memory::OwnMemory;
