//! Records: what is written rarely, one to a chunk. Mappings, samples of memory, names.

use crate::ids::{CodeId, LabelId, MappingId, OpId, Ticks};
use crate::layout::MemoryLayout;
use crate::varint::{Reader, Writer};

/// The largest record, in bytes; a Python code object's may be larger ([`CODE_LIMIT`]).
pub const RECORD_LIMIT: usize = 8 * 1024;
/// The largest record of a Python code object, in bytes.
pub const CODE_LIMIT: usize = 64 * 1024;

/// An object file in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping<'a> {
    /// Names it in stack frames.
    pub id: MappingId,
    /// Address of its first mapped byte.
    pub start: u64,
    /// Bytes from its first to its last mapped one.
    pub len: u64,
    /// What the loader added to the addresses in the file.
    pub bias: u64,
    /// When it was first seen on a stack.
    pub seen: Ticks,
    /// The note that names this build of the file; empty if it has none.
    pub build_id: &'a [u8],
    /// The path under which it was loaded.
    pub path: &'a [u8],
}

/// How a code object says which instruction is of which line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LineTable {
    /// `co_lnotab`, up to CPython 3.9: bytes of code and lines, in pairs.
    Lnotab = 1,
    /// `co_linetable` of CPython 3.10 (PEP 626).
    Pep626 = 2,
    /// `co_linetable` from CPython 3.11 on: locations of entries of variable length.
    Locations = 3,
}

impl LineTable {
    fn from_wire(number: u8) -> Option<Self> {
        [Self::Lnotab, Self::Pep626, Self::Locations].into_iter().find(|kind| *kind as u8 == number)
    }
}

/// A Python code object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code<'a> {
    /// Names it in stack frames.
    pub id: CodeId,
    /// The line that its first instruction counts from.
    pub first_line: u32,
    /// `co_name`, in UTF-8.
    pub name: &'a [u8],
    /// `co_filename`, in UTF-8.
    pub file: &'a [u8],
    /// What `lines` is.
    pub line_table: LineTable,
    /// The table itself, as the interpreter keeps it or without what does not say a line; cut off if it is very long.
    pub lines: &'a [u8],
}

/// What the process's memory looked like at one time. Sizes in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryReading {
    /// When, in ticks.
    pub time: u64,
    /// When, in nanoseconds of `CLOCK_MONOTONIC` since the trace began.
    pub monotonic_ns: u64,
    /// Resident anonymous memory.
    pub rss_anonymous: u64,
    /// Resident memory of files, the trace's own pages included.
    pub rss_file: u64,
    /// Resident shared memory.
    pub rss_shared: u64,
    /// What glibc's allocator took from the kernel: `mallinfo2().arena`.
    pub malloc_arena: u64,
    /// What it has handed out, chunk headers and per-thread caches included: `uordblks + hblkhd`.
    pub malloc_in_use: u64,
    /// What was freed and is kept: `fordblks`.
    pub malloc_free: u64,
    /// Of `malloc_in_use`, what stands in mappings of its own: `hblkhd`.
    pub malloc_mapped: u64,
    /// The memory limit of the process's cgroup; 0 = none or unknown.
    pub cgroup_limit: u64,
    /// What the cgroup uses; 0 = unknown.
    pub cgroup_current: u64,
    /// Threads of the process, the tracer's own included.
    pub threads: u64,
    /// Threads that belong to the tracer.
    pub own_threads: u64,
    /// Whether the malloc figures are glibc's and were asked for.
    pub malloc_known: bool,
}

/// Something that is written rarely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// An object file was first seen on a stack.
    Mapped(Mapping<'a>),
    /// It was unloaded.
    Unmapped {
        /// Which.
        id: MappingId,
        /// When.
        time: Ticks,
    },
    /// What memory looked like, and sometimes whose it is.
    Memory(MemoryReading, Option<MemoryLayout<'a>>),
    /// A name that `tftrace_mark` was given.
    Label {
        /// Names it in events.
        id: LabelId,
        /// The name.
        text: &'a [u8],
    },
    /// A Python code object was first seen on a stack.
    Code(Code<'a>),
    /// A framework named what it computes for the first time.
    Op {
        /// Names it in stack frames.
        id: OpId,
        /// The operation, as the framework names it; empty if it did not say.
        name: &'a [u8],
        /// What the memory is of it: `output`, `temp`, ...
        region: &'a [u8],
        /// TensorFlow's number of the element type; 0 = unknown.
        data_type: u32,
    },
    /// The Python interpreter began to shut down, or was started again after that.
    ShutDown {
        /// When.
        time: Ticks,
        /// Whether it shuts down.
        begins: bool,
    },
    /// The cycle collection that Python runs when it begins to shut down, before it takes anything apart.
    LastCollection {
        /// When it began; 0 if none was run.
        began: Ticks,
        /// When it was last seen under way: what was freed until then is what nothing held.
        ended: Ticks,
        /// Whether the program had left the collector on.
        enabled: bool,
    },
    /// Recording began or ended by request. Without any, everything was recorded.
    Recording {
        /// When.
        time: Ticks,
        /// Whether it began: what was live before may have been freed unseen. Else it ended.
        on: bool,
    },
    /// Allocations before a time whose frees are known were folded into totals, to keep the file small.
    Compacted {
        /// Until when this may have been done: before, time lines lack what came and went.
        until: Ticks,
        /// How many allocations were folded, since the trace began.
        folded: u64,
    },
    /// The tracer's own notes: what it could not do.
    Note {
        /// One line.
        text: &'a [u8],
    },
}

impl<'a> Record<'a> {
    /// Writes the record; gives its bytes, or `None` if `room` is too small.
    pub fn to_wire(&self, room: &mut [u8]) -> Option<usize> {
        let mut out = Writer::new(room);
        match self {
            Record::Mapped(mapping) => {
                out.byte(1);
                out.number(u64::from(mapping.id.0));
                for value in [mapping.start, mapping.len, mapping.bias, mapping.seen.0] {
                    out.number(value);
                }
                out.bytes(mapping.build_id);
                out.bytes(mapping.path);
            }
            Record::Unmapped { id, time } => {
                out.byte(2);
                out.number(u64::from(id.0));
                out.number(time.0);
            }
            Record::Memory(reading, layout) => {
                out.byte(3);
                for value in reading.fields() {
                    out.number(value);
                }
                if let Some(layout) = layout {
                    layout.write(&mut out);
                }
            }
            Record::Label { id, text } => {
                out.byte(4);
                out.number(u64::from(id.0));
                out.bytes(text);
            }
            Record::Code(code) => {
                out.byte(6);
                out.number(u64::from(code.id.0));
                out.number(u64::from(code.first_line));
                out.bytes(code.name);
                out.bytes(code.file);
                out.byte(code.line_table as u8);
                out.bytes(code.lines);
            }
            Record::Op { id, name, region, data_type } => {
                out.byte(7);
                out.number(u64::from(id.0));
                out.bytes(name);
                out.bytes(region);
                out.number(u64::from(*data_type));
            }
            Record::ShutDown { time, begins } => {
                out.byte(8);
                out.number(time.0);
                out.byte(u8::from(*begins));
            }
            Record::Recording { time, on } => {
                out.byte(9);
                out.number(time.0);
                out.byte(u8::from(*on));
            }
            Record::LastCollection { began, ended, enabled } => {
                out.byte(10);
                out.number(began.0);
                out.number(ended.0);
                out.byte(u8::from(*enabled));
            }
            Record::Compacted { until, folded } => {
                out.byte(11);
                out.number(until.0);
                out.number(*folded);
            }
            Record::Note { text } => {
                out.byte(5);
                out.bytes(text);
            }
        }
        out.finish()
    }

    /// Reads a record; `None` if the bytes are none that this version knows.
    pub fn from_wire(bytes: &'a [u8]) -> Option<Self> {
        let mut input = Reader::new(bytes);
        Some(match input.byte()? {
            1 => Record::Mapped(Mapping {
                id: MappingId(u32::try_from(input.number()?).ok()?),
                start: input.number()?,
                len: input.number()?,
                bias: input.number()?,
                seen: Ticks(input.number()?),
                build_id: input.bytes()?,
                path: input.bytes()?,
            }),
            2 => Record::Unmapped {
                id: MappingId(u32::try_from(input.number()?).ok()?),
                time: Ticks(input.number()?),
            },
            3 => {
                let reading = MemoryReading::read(&mut input)?;
                let has_layout = !input.is_empty();
                let layout = has_layout.then(|| MemoryLayout::read(&mut input));
                Record::Memory(reading, layout.flatten())
            }
            4 => Record::Label {
                id: LabelId(u32::try_from(input.number()?).ok()?),
                text: input.bytes()?,
            },
            5 => Record::Note { text: input.bytes()? },
            6 => Record::Code(Code {
                id: CodeId(u32::try_from(input.number()?).ok()?),
                first_line: u32::try_from(input.number()?).ok()?,
                name: input.bytes()?,
                file: input.bytes()?,
                line_table: LineTable::from_wire(input.byte()?)?,
                lines: input.bytes()?,
            }),
            7 => Record::Op {
                id: OpId(u32::try_from(input.number()?).ok()?),
                name: input.bytes()?,
                region: input.bytes()?,
                data_type: u32::try_from(input.number()?).ok()?,
            },
            8 => Record::ShutDown { time: Ticks(input.number()?), begins: input.byte()? != 0 },
            9 => Record::Recording { time: Ticks(input.number()?), on: input.byte()? != 0 },
            10 => Record::LastCollection {
                began: Ticks(input.number()?),
                ended: Ticks(input.number()?),
                enabled: input.byte()? != 0,
            },
            11 => Record::Compacted { until: Ticks(input.number()?), folded: input.number()? },
            _ => return None,
        })
    }
}

impl MemoryReading {
    fn fields(&self) -> [u64; 14] {
        [
            self.time,
            self.monotonic_ns,
            self.rss_anonymous,
            self.rss_file,
            self.rss_shared,
            self.malloc_arena,
            self.malloc_in_use,
            self.malloc_free,
            self.malloc_mapped,
            self.cgroup_limit,
            self.cgroup_current,
            self.threads,
            self.own_threads,
            u64::from(self.malloc_known),
        ]
    }

    fn read(input: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            time: input.number()?,
            monotonic_ns: input.number()?,
            rss_anonymous: input.number()?,
            rss_file: input.number()?,
            rss_shared: input.number()?,
            malloc_arena: input.number()?,
            malloc_in_use: input.number()?,
            malloc_free: input.number()?,
            malloc_mapped: input.number()?,
            cgroup_limit: input.number()?,
            cgroup_current: input.number()?,
            threads: input.number()?,
            own_threads: input.number()?,
            malloc_known: input.number()? != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_and_every_cut_is_noticed() {
        let records = [
            Record::Mapped(Mapping {
                id: MappingId(3),
                start: 0x7F00_0000_0000,
                len: 1 << 20,
                bias: 0x7F00_0000_0000,
                seen: Ticks(5),
                build_id: &[1; 20],
                path: b"/lib/libc.so.6",
            }),
            Record::Unmapped { id: MappingId(3), time: Ticks(9) },
            Record::Memory(
                MemoryReading { time: 7, threads: 3, malloc_known: true, ..Default::default() },
                None,
            ),
            Record::Label { id: LabelId(1), text: b"request" },
            Record::Note { text: b"hello" },
            Record::ShutDown { time: Ticks(1 << 40), begins: true },
            Record::Recording { time: Ticks(1 << 41), on: true },
            Record::LastCollection { began: Ticks(7), ended: Ticks(1 << 40), enabled: true },
            Record::Compacted { until: Ticks(1 << 40), folded: 1 << 33 },
            Record::Op { id: OpId(3), name: b"mm", region: b"output", data_type: 1 },
            Record::Code(Code {
                id: CodeId(7),
                first_line: 42,
                name: b"answer",
                file: b"/app/serve.py",
                line_table: LineTable::Locations,
                lines: &[0x80, 1, 2],
            }),
        ];
        for record in records {
            let mut room = [0; 256];
            let len = record.to_wire(&mut room).unwrap();
            assert_eq!(Record::from_wire(&room[..len]), Some(record));
            for cut in 0..len {
                assert_eq!(Record::from_wire(&room[..cut]), None, "{record:?} cut at {cut}");
            }
            assert_eq!(record.to_wire(&mut room[..len - 1]), None);
        }
    }
}
