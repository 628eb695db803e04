//! Which of the process's resident memory is whose: live ranges and blocks beside the kernel's list.
//!
//! Adjacent mappings can be one to the kernel: each has its share of what is resident then.

use tftrace_format::Domain;
use tftrace_format::layout::AreaKind;
use tftrace_format::reader::Layout;

use super::live::LiveHeap;
use super::live_blocks::LiveBlocks;
use super::ranges::RangeKind;

/// Resident anonymous memory, by owner, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// When the kernel was asked, in ticks.
    pub time: u64,
    /// What the program mapped itself, pools left out.
    pub mapped: u64,
    /// Mapped pools of allocators, by the domain whose blocks are cut out of them.
    pub pools: [u64; Domain::ALL.len()],
    /// The C heap: what grew by `brk`, and other areas with blocks of `malloc`.
    pub heap: u64,
    /// Stacks, the main thread's included.
    pub stacks: u64,
    /// Private pages of files, and the memory of zeros behind a library's data.
    pub files: u64,
    /// The tracer's own.
    pub tracer: u64,
}

/// An area, and what was found in it.
struct Found {
    start: u64,
    end: u64,
    /// Resident bytes whose owner is not known yet.
    resident: f64,
    share: f64,
    kind: AreaKind,
    /// The kernel's mapping that it is of, as an index.
    mapping: usize,
}

impl Resident {
    /// Compares what is live, these blocks included, with a look at the process, which should be of about the same time.
    pub fn of(heap: &LiveHeap, blocks: &LiveBlocks, layout: &Layout) -> Self {
        let mut resident = Self {
            time: layout.time.0,
            stacks: layout.main_stack,
            files: layout.files,
            tracer: layout.tracer,
            ..Self::default()
        };
        let mut areas: Vec<Found> = Vec::with_capacity(layout.areas.len());
        let mut has_blocks = Vec::new();
        for area in &layout.areas {
            if area.kind != AreaKind::Continued || has_blocks.is_empty() {
                has_blocks.push(area.kind == AreaKind::Heap);
            }
            areas.push(Found {
                start: area.start,
                end: area.start.saturating_add(area.len),
                resident: area.resident as f64,
                share: area.resident.min(area.len) as f64 / area.len.max(1) as f64,
                kind: area.kind,
                mapping: has_blocks.len() - 1,
            });
        }
        areas.sort_unstable_by_key(|area| area.start);
        for (start, range) in heap.ranges.iter() {
            let into = match range.kind {
                RangeKind::Anonymous => &mut resident.mapped,
                RangeKind::Pool(domain) => &mut resident.pools[domain as usize],
                RangeKind::File => continue,
            };
            let first = areas.partition_point(|area| area.end <= start);
            for area in areas.iter_mut().skip(first).take_while(|area| area.start < range.end) {
                let both = range.end.min(area.end) - start.max(area.start);
                let bytes = (both as f64 * area.share).min(area.resident);
                area.resident -= bytes;
                *into = into.saturating_add(bytes as u64);
            }
        }
        for (address, _) in blocks.of(Domain::Malloc) {
            let at = areas.partition_point(|area| area.end <= address);
            if let Some(area) = areas.get(at).filter(|area| area.start <= address) {
                has_blocks[area.mapping] = true;
            }
        }
        for area in areas {
            let owner = match area.kind {
                AreaKind::Stack => &mut resident.stacks,
                _ if has_blocks[area.mapping] => &mut resident.heap,
                AreaKind::BehindFile => &mut resident.files,
                AreaKind::Heap | AreaKind::Anonymous | AreaKind::Continued => continue,
            };
            *owner = owner.saturating_add(area.resident as u64);
        }
        resident
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tftrace_format::layout::Area;
    use tftrace_format::{Event, Ticks};

    #[test]
    fn what_is_live_has_its_share_of_the_area_it_stands_in() {
        let (mut heap, mut blocks) = (LiveHeap::default(), LiveBlocks::default());
        let mut allocated = |domain, address, size| {
            let time = Ticks(1);
            let stack = None;
            let event = Event::Allocated { time, domain, address, size, stack, file_backed: false };
            heap.apply(&event, blocks.apply(&event));
        };
        allocated(Domain::Mmap, 0x10_0000, 0x4000);
        allocated(Domain::Malloc, 0x20_0010, 24);
        allocated(Domain::Malloc, 0x50_0010, 24);
        allocated(Domain::Mmap, 0x60_0000, 0x10_0000);
        let area = |start, len, resident, kind| Area { start, len, resident, kind };
        let layout = Layout {
            time: Ticks(1),
            files: 0x3000,
            main_stack: 0x2000,
            tracer: 0x1000,
            rest: 0,
            areas: vec![
                // Half of it is the range, and half of it is resident.
                area(0x10_0000, 0x8000, 0x4000, AreaKind::Anonymous),
                area(0x20_0000, 0x8000, 0x5000, AreaKind::BehindFile),
                area(0x30_0000, 0x8000, 0x1000, AreaKind::BehindFile),
                area(0x40_0000, 0x8000, 0x7000, AreaKind::Stack),
                // One mapping: a range that was never touched between a block and what was freed.
                area(0x50_0000, 0x3000, 0x3000, AreaKind::Anonymous),
                area(0x70_0000, 0x8000, 0x8000, AreaKind::Continued),
                area(0x90_0000, 0x1000, 0x1000, AreaKind::Anonymous),
            ],
        };
        let expected = Resident {
            time: 1,
            mapped: 0x2000,
            heap: 0x5000 + 0xB000,
            stacks: 0x9000,
            files: 0x4000,
            tracer: 0x1000,
            ..Resident::default()
        };
        assert_eq!(Resident::of(&heap, &blocks, &layout), expected);
    }
}
