//! One look at whose the process's anonymous memory is: the kernel's list of mappings, owner by owner.
//!
//! The kernel counts pages for the lines of it, which takes milliseconds in a large process, tens of them before
//! Linux 6.7: our callers look seldom.

use tftrace_format::layout::{Area, AreaKind, AreaWriter, MemoryLayout};

use super::anonymous_pages::AnonymousPages;
use super::resident_runs::{self, PAGE};
use crate::process::Process;
use crate::process::proc_file::map_range;
use crate::{own_mappings, system_call};

const ROOM: usize = 16 * 1024;
/// At most what stands between a thread pointer and the end of its stack: glibc's own structure.
const THREAD_BLOCK: u64 = 2304;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Look {
    files: u64,
    main_stack: u64,
    tracer: u64,
    rest: u64,
    areas: AreaWriter,
}

/// A line of the list.
#[derive(Clone, Copy, Debug)]
struct Mapping {
    start: u64,
    end: u64,
    kind: Kind,
    is_writable: bool,
    /// Whether it may have pages of its own: not where it is shared, code, or the read-only beginning of a
    /// file, which nobody ever wrote to.
    is_changed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Heap,
    MainStack,
    Anonymous,
}

impl Look {
    /// Looks at all mappings. `None`: the list cannot be read.
    pub(super) fn take(process: &Process) -> Option<Self> {
        let pages = AnonymousPages::open();
        let list = if pages.is_some() { c"/proc/self/maps" } else { c"/proc/self/smaps" };
        let list = system_call::open(list, libc::O_RDONLY, 0).ok()?;
        let mut look = Self::default();
        let mut room = [0; ROOM];
        let (mut current, mut before): (Option<Mapping>, Option<Mapping>) = (None, None);
        let mut filled = 0;
        loop {
            let read = list.read_all(room.get_mut(filled..)?).ok()?.len();
            filled = filled.saturating_add(read);
            let bytes = room.get(..filled)?;
            let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
            for line in bytes.get(..whole)?.split(|&byte| byte == b'\n') {
                if let Some(mapping) = Mapping::parse(line) {
                    before = current.replace(mapping);
                    if let Some(pages) = pages.as_ref().filter(|_| mapping.is_changed)
                        && let Some(bytes @ 1..) = pages.bytes_in(mapping.start, mapping.end)
                    {
                        look.add(process, mapping, before, bytes);
                    }
                } else if let Some(size) = line.strip_prefix(b"Anonymous:")
                    && let (Some(bytes), Some(mapping)) =
                        (super::memory_reading::number(size), current)
                    && bytes > 0
                {
                    look.add(process, mapping, before, bytes.saturating_mul(1024));
                }
            }
            // A line that is longer than the room is none that matters.
            let kept = if whole == 0 && filled == ROOM { filled } else { whole };
            for (to, from) in (kept..filled).enumerate() {
                if let Some(byte) = room.get(from).copied()
                    && let Some(place) = room.get_mut(to)
                {
                    *place = byte;
                }
            }
            filled = filled.saturating_sub(kept);
            if read == 0 {
                return Some(look);
            }
        }
    }

    /// What the trace says of it.
    pub(super) fn layout(&self) -> MemoryLayout<'_> {
        let Self { files, main_stack, tracer, rest, ref areas } = *self;
        MemoryLayout { files, main_stack, tracer, rest, areas: areas.bytes() }
    }

    fn add(&mut self, process: &Process, mapping: Mapping, before: Option<Mapping>, bytes: u64) {
        match mapping.kind {
            Kind::File => self.files = self.files.saturating_add(bytes),
            Kind::MainStack => self.main_stack = self.main_stack.saturating_add(bytes),
            Kind::Heap => self.add_area(mapping, bytes, AreaKind::Heap),
            Kind::Anonymous => self.add_anonymous(process, mapping, before, bytes),
        }
    }

    fn add_anonymous(
        &mut self,
        process: &Process,
        mapping: Mapping,
        before: Option<Mapping>,
        mut bytes: u64,
    ) {
        for (start, end) in own_mappings::ranges() {
            let own = mapping.part(start, end).resident(mapping, bytes);
            self.tracer = self.tracer.saturating_add(own);
            bytes = bytes.saturating_sub(own);
        }
        let of_stacks = process
            .threads
            .stacks()
            .filter(|&(sp, pointer)| mapping.start <= sp && sp < pointer && pointer < mapping.end);
        // Mappings that lie side by side may be one to the kernel: a stack ends above its thread pointer.
        if let Some((_, pointer)) = of_stacks.max_by_key(|(_, pointer)| *pointer) {
            let end = pointer.saturating_add(THREAD_BLOCK).next_multiple_of(PAGE);
            let stack = mapping.part(mapping.start, end);
            let resident = stack.resident(mapping, bytes);
            self.add_area(stack, resident, AreaKind::Stack);
            self.add_runs(mapping.part(stack.end, mapping.end), bytes.saturating_sub(resident));
            return;
        }
        let is_behind_file = before.is_some_and(|before| {
            before.kind == Kind::File && before.is_writable && before.end == mapping.start
        });
        if is_behind_file {
            self.add_area(mapping, bytes, AreaKind::BehindFile);
        } else {
            self.add_runs(mapping, bytes);
        }
    }

    fn add_runs(&mut self, mapping: Mapping, resident: u64) {
        let mut kind = AreaKind::Anonymous;
        resident_runs::of(mapping.start, mapping.end, resident, |run| {
            self.add_area(mapping.part(run.start, run.end), run.resident, kind);
            kind = AreaKind::Continued;
        });
    }

    fn add_area(&mut self, mapping: Mapping, resident: u64, kind: AreaKind) {
        let (start, len) = (mapping.start, mapping.end.saturating_sub(mapping.start));
        if resident > 0 && !self.areas.push(&Area { start, len, resident, kind }) {
            self.rest = self.rest.saturating_add(resident);
        }
    }
}

impl Mapping {
    /// The first of a mapping's lines: addresses, rights, offset, device, inode, name.
    fn parse(line: &[u8]) -> Option<Self> {
        let (start, end) = map_range(line)?;
        let mut words = line.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
        let [_, write, execute, share] = *words.nth(1)?.first_chunk()?;
        let (is_writable, offset) = (write == b'w', words.next()?);
        let name = words.nth(2);
        let kind = match name {
            None => Kind::Anonymous,
            Some(b"[heap]") => Kind::Heap,
            Some(b"[stack]") => Kind::MainStack,
            // As `[anon:NAME]`.
            Some(name) if name.starts_with(b"[") => Kind::Anonymous,
            Some(_) => Kind::File,
        };
        let is_first = offset.iter().all(|&digit| digit == b'0');
        let is_as_in_file = kind == Kind::File && !is_writable && (execute == b'x' || is_first);
        // The kernel's own pages are of no file, but not the process's.
        let is_kernels = name.is_some_and(|name| name.starts_with(b"[v"));
        let is_changed = share == b'p' && !is_as_in_file && !is_kernels;
        Some(Self { start, end, kind, is_writable, is_changed })
    }

    fn part(self, start: u64, end: u64) -> Self {
        Self { start: start.max(self.start), end: end.min(self.end), ..self }
    }

    /// Bytes of this part of a mapping that are resident, if so many are of the whole.
    fn resident(self, whole: Self, of_whole: u64) -> u64 {
        if (self.start, self.end) == (whole.start, whole.end) {
            return of_whole;
        }
        resident_runs::resident(self.start, self.end).min(of_whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_known_by_its_line() {
        let kind =
            |line: &[u8]| Mapping::parse(line).map(|it| (it.kind, it.is_writable, it.is_changed));
        for (line, expected) in [
            (&b"7f00-7f10 rw-p 00000000 00:00 0 "[..], Some((Kind::Anonymous, true, true))),
            (b"7f00-7f10 rw-p 00000000 00:00 0", Some((Kind::Anonymous, true, true))),
            (
                b"7f00-7f10 rw-p 00000000 00:00 0                          [heap]",
                Some((Kind::Heap, true, true)),
            ),
            (b"7f00-7f10 rw-p 00000000 00:00 0   [stack]", Some((Kind::MainStack, true, true))),
            (b"7f00-7f10 rw-p 00000000 00:00 0   [anon:a b]", Some((Kind::Anonymous, true, true))),
            (b"7f00-7f10 r--p 00001000 08:01 77   /lib/x y.so", Some((Kind::File, false, true))),
            (b"7f00-7f10 r-xp 00001000 08:01 77   /lib/x y.so", Some((Kind::File, false, false))),
            (b"7f00-7f10 r--p 00000000 08:01 77   /lib/x y.so", Some((Kind::File, false, false))),
            (b"7f00-7f10 rw-s 00000000 08:01 77   /dev/shm/x", Some((Kind::File, true, false))),
            (b"7f00-7f10 r--p 00000000 00:00 0   [vvar]", Some((Kind::Anonymous, false, false))),
            (b"Anonymous:             12 kB", None),
            (b"VmFlags: rd wr mr mw me ac", None),
            (b"", None),
        ] {
            assert_eq!(kind(line), expected, "{}", String::from_utf8_lossy(line));
        }
    }
}
