//! The loaded objects that were on a stack: numbered at first sight, dead once the loader drops them.
//!
//! glibc's `_dl_find_object` says which object an address belongs to, without a lock; before it
//! had that, the loader's list does. An object
//! that is unloaded is noticed when the loader frees its link map, which it does through the
//! interposed `free`, before anything else can be loaded in its place.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use tftrace_format::record::{Mapping, Record};
use tftrace_format::{MappingId, Ticks};

use super::elf_image::ElfImage;
use super::loader_list;
use crate::arch::EntryRegisters;
use crate::drain;
use crate::process::Process;
use crate::python;
use crate::real::{self, FoundObject};
use crate::sampling;
use crate::system_call;
use crate::tensorflow::framework;
use crate::thread::guard::HookEntry;

/// Stands for "no object" in rules and frames.
pub(crate) const NO_MAPPING: u32 = MappingId::LIMIT - 1;
const MOST_OBJECTS: u32 = 1 << 16;

/// The objects seen so far.
#[derive(Debug)]
pub(crate) struct ObjectTable {
    /// glibc's name for each object; 0 once it is unloaded.
    link_maps: *mut AtomicU64,
    starts: *mut AtomicU64,
    used: AtomicU32,
    /// Changes with every unloading: kept stacks of before are forgotten.
    generation: AtomicU64,
    /// Where the dynamic loader's code is.
    loader: (u64, u64),
    /// Where this library's code is.
    own: (u64, u64),
}

// SAFETY: both arrays stay mapped for ever and are used through atomics only.
unsafe impl Sync for ObjectTable {}
// SAFETY: as above.
unsafe impl Send for ObjectTable {}

impl ObjectTable {
    /// No objects yet; `None` if there is no memory.
    pub(crate) fn new() -> Option<Self> {
        let words = || system_call::map_private(MOST_OBJECTS as usize * size_of::<AtomicU64>());
        let range = |address: u64| {
            loader_list::find_object(address).map_or((0, 0), |found| (found.start, found.end))
        };
        Some(Self {
            link_maps: words().ok()?.cast(),
            starts: words().ok()?.cast(),
            used: AtomicU32::new(0),
            generation: AtomicU64::new(1),
            loader: range(real::loader_start()),
            own: range(Self::new as *const () as u64),
        })
    }

    fn link_map(&self, index: u32) -> Option<&AtomicU64> {
        if index >= MOST_OBJECTS {
            return None;
        }
        // SAFETY: below the array's length.
        Some(unsafe { &*self.link_maps.wrapping_add(index as usize) })
    }

    fn start(&self, index: u32) -> Option<&AtomicU64> {
        if index >= MOST_OBJECTS {
            return None;
        }
        // SAFETY: below the array's length.
        Some(unsafe { &*self.starts.wrapping_add(index as usize) })
    }

    /// Where an object begins.
    #[inline(always)]
    pub(crate) fn start_of(&self, index: u32) -> u64 {
        self.start(index).map_or(0, |start| start.load(Ordering::Relaxed)) // Written before its rules.
    }

    /// The state of the table; frames of another state may name unloaded objects.
    #[inline(always)]
    pub(crate) fn generation(&self) -> u64 {
        // Acquire: pairs with the release in `unloaded`.
        self.generation.load(Ordering::Acquire)
    }

    /// Whether an address is in the dynamic loader.
    #[inline(always)]
    pub(crate) fn is_loader(&self, address: u64) -> bool {
        address.wrapping_sub(self.loader.0) < self.loader.1.wrapping_sub(self.loader.0)
    }

    /// Whether an address is in this library: its frames are no part of the host's stack.
    #[inline(always)]
    pub(crate) fn is_own(&self, address: u64) -> bool {
        address.wrapping_sub(self.own.0) < self.own.1.wrapping_sub(self.own.0)
    }

    /// Whether the object of this number is still loaded.
    pub(crate) fn is_loaded(&self, index: u32) -> bool {
        self.link_map(index).is_some_and(|map| map.load(Ordering::Acquire) != 0)
    }

    #[cfg(test)]
    pub(super) fn simulate_loaded(&self, index: u32, is_loaded: bool) {
        self.link_map(index).unwrap().store(is_loaded.into(), Ordering::Release);
    }

    fn find(&self, link_map: u64) -> Option<u32> {
        let used = self.used.load(Ordering::Acquire).min(MOST_OBJECTS);
        (0..used).rev().find(|index| {
            self.link_map(*index).is_some_and(|map| map.load(Ordering::Acquire) == link_map)
        })
    }

    /// The number of an object; one that is new is written into the trace. Not in a signal handler.
    pub(crate) fn number_of(
        &self,
        process: &Process,
        found: &FoundObject,
        image: &ElfImage,
    ) -> u32 {
        if let Some(index) = self.find(found.link_map) {
            return index;
        }
        // Two threads may see an object first at the same time: it then has two numbers.
        let index = self.used.fetch_add(1, Ordering::AcqRel);
        let (Some(start), Some(link_map)) = (self.start(index), self.link_map(index)) else {
            return NO_MAPPING;
        };
        start.store(found.start, Ordering::Relaxed);
        let now = process.clock.now();
        let mut room = [0; 4096];
        let record = Record::Mapped(Mapping {
            id: MappingId(index),
            start: found.start,
            len: found.end.wrapping_sub(found.start),
            bias: image.bias(),
            seen: now,
            build_id: image.build_id(),
            path: image.path(found.link_map, &mut room),
        });
        process.log.record(&process.spool, now, &record);
        // Where most frees come to no hook, the one that ends the object has to.
        sampling::watch(found.link_map);
        // Release: who finds the object finds its start.
        link_map.store(found.link_map, Ordering::Release);
        if process.table_views.consider(index, image, found.eh_frame_hdr) {
            drain::map_tables(process);
        }
        python::consider(process, image);
        framework::consider(image, found);
        index
    }

    #[cold]
    fn unloaded(&self, process: &Process, now: Ticks, link_map: u64) {
        let Some(index) = self.find(link_map) else { return };
        framework::unloaded(link_map);
        if let Some(map) = self.link_map(index) {
            map.store(0, Ordering::Release);
        }
        sampling::stop_watching(link_map);
        process.table_views.unloaded(index);
        process.rules.forget_mapping(index);
        // Release: who sees the new generation does not find the old rules.
        self.generation.fetch_add(1, Ordering::Release);
        let record = Record::Unmapped { id: MappingId(index), time: now };
        process.log.record(&process.spool, now, &record);
        // An object may have been numbered twice.
        self.unloaded(process, now, link_map);
    }
}

/// Looks at a `free`: if the loader frees the link map of an object, the object is unloaded.
#[inline(always)]
pub(crate) fn note_free(entry: &HookEntry, registers: EntryRegisters, address: u64) {
    if is_loaders(entry.process(), registers) {
        from_loader(entry, address);
    }
}

/// Whether the loader made the call whose registers these are.
#[inline(always)]
fn is_loaders(process: &Process, registers: EntryRegisters) -> bool {
    // SAFETY: the hook was entered by a call, so its return address stands at `sp`.
    let caller = unsafe { (registers.sp as *const u64).read() };
    process.objects.is_loader(caller)
}

#[cold]
fn from_loader(entry: &HookEntry, address: u64) {
    let process = entry.process();
    loader_list::forget(address);
    if process.objects.find(address).is_some() {
        let now = process.clock.now();
        let unload = || process.objects.unloaded(process, now, address);
        if entry.nested() { unload() } else { entry.slot().on_own_stack(unload) }
    }
}
