//! The names given to `tftrace_mark`: each is written into the trace once.

use core::sync::atomic::{AtomicU8, Ordering};

use tftrace_format::LabelId;
use tftrace_format::page::put;

use crate::system_call;

/// The longest name that is kept, in bytes; the rest is cut off.
pub(crate) const LABEL_BYTES: usize = 62;
const LABELS: usize = 1024;

const EMPTY: u8 = 0;
const WRITING: u8 = 1;
const READY: u8 = 2;

#[repr(C)]
struct Label {
    stage: AtomicU8,
    len: u8,
    text: [u8; LABEL_BYTES],
}

/// The table of names.
#[derive(Debug)]
pub(crate) struct Labels(*mut Label);

// SAFETY: the table stays mapped; an entry is written by the one thread that moved it to WRITING,
// and read by others only once it is READY.
unsafe impl Sync for Labels {}
// SAFETY: as above.
unsafe impl Send for Labels {}

/// What a name's number is, and whether the trace does not know it yet.
pub(crate) enum Found {
    Known(LabelId),
    New(LabelId),
}

impl Labels {
    /// An empty table; `None` if there is no memory for it.
    pub(crate) fn new() -> Option<Self> {
        system_call::map_private(LABELS * size_of::<Label>()).ok().map(|at| Self(at.cast()))
    }

    /// The number of a name. `None`: there are too many names.
    pub(crate) fn find(&self, text: &[u8]) -> Option<Found> {
        let text = text.get(..LABEL_BYTES).unwrap_or(text);
        for index in 0..LABELS {
            let entry = self.0.wrapping_add(index);
            // SAFETY: below the table's length; the stage is only ever used as an atomic.
            let stage = unsafe { &(*entry).stage };
            let id = LabelId(index as u32);
            // Acquire: pairs with the release below; who sees READY sees the text.
            match stage.compare_exchange(EMPTY, WRITING, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    // SAFETY: this thread alone moved the entry to WRITING.
                    let target = unsafe { &mut (*entry).text };
                    put(target, 0, text)?;
                    // SAFETY: as above.
                    unsafe { (*entry).len = text.len() as u8 };
                    stage.store(READY, Ordering::Release);
                    return Some(Found::New(id));
                }
                Err(READY) => {
                    // SAFETY: READY entries never change.
                    let known = unsafe { &(*entry).text };
                    // SAFETY: as above.
                    let len = unsafe { (*entry).len };
                    if known.get(..usize::from(len)) == Some(text) {
                        return Some(Found::Known(id));
                    }
                }
                // Another thread writes this entry: the same name may get a second number.
                Err(_) => {}
            }
        }
        None
    }
}
