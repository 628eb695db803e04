//! What the records of a trace say, by kind.

use std::collections::HashMap;

use super::{CodeObject, LastCollection, Layout, LoadedObject, Op};
use crate::ids::{CodeId, LabelId, MappingId, OpId, Ticks};
use crate::record::{MemoryReading, Record};

/// Everything that was recorded beside events and stacks.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) objects: HashMap<MappingId, LoadedObject>,
    pub(super) codes: HashMap<CodeId, CodeObject>,
    pub(super) ops: HashMap<OpId, Op>,
    pub(super) labels: HashMap<LabelId, String>,
    pub(super) readings: Vec<MemoryReading>,
    pub(super) layouts: Vec<Layout>,
    pub(super) shut_downs: Vec<(Ticks, bool)>,
    pub(super) last_collection: Option<LastCollection>,
    pub(super) recordings: Vec<(Ticks, bool)>,
    pub(super) notes: Vec<String>,
    pub(super) compacted: Option<(Ticks, u64)>,
    unmapped: Vec<(MappingId, Ticks)>,
}

impl Records {
    /// Takes the payload of a record; whether it makes sense.
    pub(super) fn take(&mut self, payload: &[u8]) -> bool {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match Record::from_wire(payload) {
            Some(Record::Mapped(mapping)) => {
                let object = LoadedObject {
                    id: mapping.id,
                    start: mapping.start,
                    len: mapping.len,
                    bias: mapping.bias,
                    build_id: mapping.build_id.to_vec(),
                    path: mapping.path.to_vec(),
                    seen: mapping.seen,
                    unmapped: None,
                };
                self.objects.insert(mapping.id, object);
            }
            Some(Record::Unmapped { id, time }) => self.unmapped.push((id, time)),
            Some(Record::Memory(reading, layout)) => {
                self.readings.push(reading);
                self.layouts.extend(layout.map(|layout| Layout::of(reading.time, &layout)));
            }
            Some(Record::Label { id, text: name }) => {
                self.labels.insert(id, text(name));
            }
            Some(Record::Code(code)) => {
                let object = CodeObject {
                    first_line: code.first_line,
                    name: text(code.name),
                    file: text(code.file),
                    line_table: code.line_table,
                    lines: code.lines.to_vec(),
                };
                self.codes.insert(code.id, object);
            }
            Some(Record::Op { id, name, region, data_type }) => {
                let op = Op { name: text(name), region: text(region), data_type };
                self.ops.insert(id, op);
            }
            Some(Record::LastCollection { began, ended, enabled }) => {
                // Chunks may stand in any order.
                if self.last_collection.is_none_or(|known| known.ended <= ended) {
                    self.last_collection = Some(LastCollection { began, ended, enabled });
                }
            }
            Some(Record::ShutDown { time, begins }) => self.shut_downs.push((time, begins)),
            Some(Record::Recording { time, on }) => self.recordings.push((time, on)),
            Some(Record::Compacted { until, folded }) => {
                self.compacted = Some((until, folded));
            }
            Some(Record::Note { text: note }) => self.notes.push(text(note)),
            None => return false,
        }
        true
    }

    /// Brings in order what came in any.
    pub(super) fn finish(&mut self) {
        self.recordings.sort_unstable();
        for (id, time) in std::mem::take(&mut self.unmapped) {
            if let Some(object) = self.objects.get_mut(&id) {
                object.unmapped = Some(time);
            }
        }
        self.readings.sort_by_key(|reading| reading.time);
        self.layouts.sort_by_key(|layout| layout.time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::RECORD_LIMIT;

    #[test]
    fn of_two_last_collections_the_later_one_counts_wherever_it_stands() {
        let collection = |ended| {
            let (began, ended) = (Ticks(ended - 5), Ticks(ended));
            let mut room = vec![0; RECORD_LIMIT];
            let record = Record::LastCollection { began, ended, enabled: true };
            let len = record.to_wire(&mut room).unwrap();
            room.truncate(len);
            room
        };
        for order in [[10, 20], [20, 10]] {
            let mut records = Records::default();
            assert!(order.into_iter().all(|ended| records.take(&collection(ended))));
            assert_eq!(records.last_collection.map(|last| last.ended), Some(Ticks(20)));
        }
    }
}
