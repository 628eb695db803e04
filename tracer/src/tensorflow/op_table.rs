//! Numbers the ops that memory was for; each is written into the trace once.
//!
//! Insert-only and lock-free. Known by a 64-bit hash: two of the most ops there can be share one
//! with a probability below one in ten billion.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use tftrace_format::record::Record;
use tftrace_format::{Frame, OpId, Ticks};

use super::Annotation;
use crate::stack_table::hash;
use crate::system_call;
use crate::thread::guard::HookEntry;

const SLOTS: usize = 1 << 16;
/// Above this, ops that are new have no name: probes would get long.
const MOST: u32 = (SLOTS / 4 * 3) as u32;

#[repr(C)]
struct Slot {
    /// 0 = free.
    hash: AtomicU64,
    /// 0 = not written yet.
    id: AtomicU32,
    _padding: u32,
}

/// The table.
#[derive(Debug)]
pub(crate) struct OpTable {
    slots: *mut Slot,
    used: AtomicU32,
}

// SAFETY: the array stays mapped for ever and is used through atomics only.
unsafe impl Sync for OpTable {}
// SAFETY: as above.
unsafe impl Send for OpTable {}

/// What a place in the table is to who comes to it.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// It has a number, or 0: it will not get one.
    Known(u32),
    /// This number is the caller's to write down.
    New(u32),
}

impl OpTable {
    /// An empty table; `None` if there is no memory for it.
    pub(crate) fn new() -> Option<Self> {
        let slots = system_call::map_private(SLOTS * size_of::<Slot>()).ok()?.cast();
        Some(Self { slots, used: AtomicU32::new(0) })
    }

    #[inline(always)]
    fn find(&self, hash: u64) -> Found {
        for probe in 0..SLOTS {
            let index = (hash as usize).wrapping_add(probe) % SLOTS;
            // SAFETY: below the array's length.
            let slot = unsafe { &*self.slots.wrapping_add(index) };
            let mut found = slot.hash.load(Ordering::Acquire);
            if found == 0 {
                if self.used.load(Ordering::Relaxed) >= MOST {
                    return Found::Known(0);
                }
                match slot.hash.compare_exchange(0, hash, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => {
                        let id = self.used.fetch_add(1, Ordering::Relaxed).wrapping_add(1); // Unique is enough.
                        slot.id.store(id, Ordering::Release);
                        return Found::New(id);
                    }
                    Err(other) => found = other,
                }
            }
            if found == hash {
                return Found::Known(slot.id.load(Ordering::Acquire));
            }
        }
        Found::Known(0)
    }
}

/// A hash of an annotation, never 0.
#[inline(always)]
fn hash_of(annotation: &Annotation) -> u64 {
    let mut all = u64::from(annotation.data_type);
    for text in [annotation.name(), annotation.region()] {
        all = hash(text.len() as u32, all);
        for part in text.chunks(8) {
            let word = part.iter().fold(0u64, |word, &byte| word << 8 | u64::from(byte));
            all = hash(0, all ^ word);
        }
    }
    all | 1
}

/// The frame of the stack tree for what an annotation says.
#[inline(always)]
pub(crate) fn frame_of(entry: &mut HookEntry, now: Ticks, annotation: &Annotation) -> u64 {
    let process = entry.process;
    let id = match process.ops.find(hash_of(annotation)) {
        Found::Known(id) => id,
        Found::New(id) => {
            let (name, region) = (annotation.name(), annotation.region());
            let data_type = annotation.data_type;
            let record = Record::Op { id: OpId(id), name, region, data_type };
            let write = || process.log.record(&process.spool, now, &record);
            if entry.nested {
                write()
            } else {
                entry.slot.on_own_stack(write)
            };
            id
        }
    };
    Frame::Op(OpId(id)).to_wire()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_op_has_one_number_and_is_new_once() {
        let table = OpTable::new().unwrap();
        assert_eq!(table.find(77), Found::New(1));
        assert_eq!(table.find(77), Found::Known(1));
        // The same place, another op.
        assert_eq!(table.find(77 + SLOTS as u64), Found::New(2));
        assert_eq!(table.find(77 + SLOTS as u64), Found::Known(2));
        for hash in 1000..1000 + u64::from(MOST) {
            table.find(hash);
        }
        assert_eq!(table.find(9_999_999), Found::Known(0), "a full table names no more");
        assert_eq!(table.find(77), Found::Known(1));
    }
}
