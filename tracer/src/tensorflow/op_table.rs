//! Numbers the ops that memory was for; each is written into the trace once.

use tftrace_format::record::Record;
use tftrace_format::{Frame, OpId, Ticks};

use super::Annotation;
use crate::id_table::{Found, IdTable, hash_of};
use crate::thread::guard::HookEntry;

/// The numbers of ops.
pub(crate) type OpTable = IdTable<{ 1 << 16 }>;

/// The frame of the stack tree for what an annotation says.
#[inline(always)]
pub(crate) fn frame_of(entry: &mut HookEntry, now: Ticks, annotation: &Annotation) -> u64 {
    let process = entry.process();
    let seed = u64::from(annotation.data_type);
    let id = match process.ops.find(hash_of(seed, [annotation.name(), annotation.region()])) {
        Found::Known(id) => id,
        Found::New(id) => {
            let (name, region) = (annotation.name(), annotation.region());
            let data_type = annotation.data_type;
            let record = Record::Op { id: OpId(id), name, region, data_type };
            let write = || process.log.record(&process.spool, now, &record);
            if entry.nested() {
                write()
            } else {
                entry.slot().on_own_stack(write)
            };
            id
        }
    };
    Frame::Op(OpId(id)).to_wire()
}
