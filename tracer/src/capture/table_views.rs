//! Unwind tables of large libraries, read through mappings of the tracer's own.
//!
//! A host that throws no exceptions never reads them: read in place, tens of megabytes would stay
//! resident because of the tracer. The host's mapping is not ours to advise about: what is there may be
//! unloaded meanwhile and be something else. So the drain maps the same part of the same file once
//! more, and drops its pages after use; the kernel has them still. Until it has, and where it cannot,
//! tables are read in place. A child of `fork` inherits these mappings and leaves them as they are: what
//! was read when a signal handler forked goes on being read there.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::elf_image::ElfImage;
use super::objects::ObjectTable;
use crate::process::path::PathBuffer;
use crate::process::proc_file::{FileMapping, ProcFile};
use crate::system_call;

/// Smaller tables are read in place.
const LEAST_BYTES: usize = 256 << 10;
/// The tables of more libraries are read in place.
const PLACES: usize = 32;
/// The pages are dropped after so many look-ups, or after a while in which there were fewer.
const MANY_READS: u32 = 256;
const PAGE: u64 = 4096;

/// What a place is for, beside the number of the object, plus one, in the lower half.
const KINDS: u64 = !(u32::MAX as u64);
const FREE: u64 = 0;
const BUSY: u64 = 1 << 32;
const WANTED: u64 = 2 << 32;
const MAPPED: u64 = 3 << 32;
const IN_PLACE: u64 = 4 << 32;
/// The drain drops the pages of a mapped one. Who reads it brings some back; nobody unmaps it.
const DROPPING: u64 = 5 << 32;

/// The tables of one object.
#[derive(Debug, Default)]
struct Place {
    state: AtomicU64,
    /// Where the tables begin in the host's mapping, and how many bytes there are.
    start: AtomicU64,
    len: AtomicU64,
    /// Where they begin in ours.
    own: AtomicU64,
    /// Look-ups since the pages were dropped.
    reads: AtomicU32,
}

/// The tables of all objects that have large ones.
#[derive(Debug, Default)]
pub(crate) struct TableViews([Place; PLACES]);

/// The bytes of an object's tables, as addresses in the host's mapping.
#[derive(Clone, Copy)]
pub(super) struct TableView<'a> {
    start: u64,
    bytes: &'a [u8],
}

impl<'a> TableView<'a> {
    /// The bytes from an address on; `None` if the address is not in it.
    pub(super) fn from(&self, address: u64) -> Option<&'a [u8]> {
        let offset = address.checked_sub(self.start)?;
        self.bytes.get(offset as usize..).filter(|bytes| !bytes.is_empty())
    }
}

fn stands_for(state: u64, object: u32) -> u64 {
    state | (u64::from(object) + 1)
}

impl TableViews {
    /// An object was numbered whose tables begin at `header`. Gives whether a view of them is wanted.
    pub(super) fn consider(&self, object: u32, image: &ElfImage, header: u64) -> bool {
        let len = image.from(header).len();
        // What the loader writes into the tables is not in the file. Where address space is limited it is the host's.
        let is_limited = || system_call::limit(libc::RLIMIT_AS) != libc::RLIM_INFINITY;
        if len < LEAST_BYTES || image.has_text_relocations() || is_limited() {
            return false;
        }
        // Acquire and Release, here and below: who sees the state sees the place as it was then.
        let Some(place) = self.0.iter().find(|place| place.claim(FREE)) else { return false };
        place.start.store(header, Ordering::Relaxed);
        place.len.store(len as u64, Ordering::Relaxed);
        place.state.store(stands_for(WANTED, object), Ordering::Release);
        true
    }

    /// The view of an object's tables, if there is one. The object stays loaded while it is used.
    pub(super) fn of(&self, object: u32) -> Option<TableView<'_>> {
        let [mapped, dropping] = [MAPPED, DROPPING].map(|state| stands_for(state, object));
        let place = self.0.iter().find(|place| {
            let state = place.state.load(Ordering::Acquire);
            state == mapped || state == dropping
        })?;
        place.reads.fetch_add(1, Ordering::Relaxed); // A hint.
        Some(place.view())
    }

    /// Maps the tables that are wanted. Opens files: where the descriptors are not the host's, or it has one thread.
    pub(crate) fn map_wanted(&self, objects: &ObjectTable) {
        for place in &self.0 {
            let state = place.state.load(Ordering::Acquire);
            if state & KINDS == WANTED && place.claim(state) {
                let object = (state as u32).wrapping_sub(1);
                // A wanted one's object is known to the table before it is wanted: it was unloaded.
                let is_mapped = objects.is_loaded(object) && place.map().is_some();
                let next = if is_mapped { MAPPED } else { IN_PLACE };
                place.state.store(stands_for(next, object), Ordering::Release);
            }
        }
    }

    /// Drops pages that were read, and frees the places of objects that were unloaded while it did so before.
    /// `after_a_while`: a second has passed since it last was.
    pub(crate) fn look_after(&self, objects: &ObjectTable, after_a_while: bool) {
        let least = if after_a_while { 1 } else { MANY_READS };
        for place in &self.0 {
            let state = place.state.load(Ordering::Acquire);
            let object = (state as u32).wrapping_sub(1);
            if matches!(state & KINDS, MAPPED | IN_PLACE) && !objects.is_loaded(object) {
                place.free(state);
            } else if state & KINDS == MAPPED
                && place.reads.load(Ordering::Relaxed) >= least
                && place.change(state, stands_for(DROPPING, object))
            {
                place.reads.store(0, Ordering::Relaxed);
                place.drop_pages();
                place.state.store(state, Ordering::Release);
            }
        }
    }

    /// An object is unloaded: its view goes with it. Nobody reads it, who would have the object on the stack.
    pub(super) fn unloaded(&self, object: u32) {
        for place in &self.0 {
            let state = place.state.load(Ordering::Acquire);
            if (state as u32).checked_sub(1) == Some(object) {
                place.free(state);
            }
        }
    }
}

impl Place {
    /// Makes the place this thread's, if it is still in this state.
    fn claim(&self, state: u64) -> bool {
        self.change(state, BUSY)
    }

    fn change(&self, state: u64, next: u64) -> bool {
        self.state.compare_exchange(state, next, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Frees the place of an unloaded object, if it is still in this state. The drain frees one whose pages it is
    /// dropping later.
    fn free(&self, state: u64) {
        if state & KINDS != DROPPING && self.claim(state) {
            if state & KINDS == MAPPED {
                // SAFETY: who reads a view has its object on the stack: nobody does any more.
                unsafe { self.unmap() };
            }
            self.state.store(FREE, Ordering::Release);
        }
    }

    /// What is at an address of the host's, from the file that is mapped there. `None`: it stays in place.
    fn map(&self) -> Option<()> {
        let start = self.start.load(Ordering::Relaxed);
        let maps = ProcFile::read(c"/proc/self/maps")?;
        let hosts = FileMapping::at(&maps, start).filter(|hosts| !hosts.is_writable)?;
        let first = start & !(PAGE - 1);
        let offset = hosts.offset.checked_add(first.checked_sub(hosts.start)?)?;
        let len = self.len.load(Ordering::Relaxed).min(hosts.end.checked_sub(start)?);
        let mut path = PathBuffer::new();
        path.push(hosts.path)?;
        // Without waiting: a pipe may stand there by now.
        let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = system_call::open(path.as_c_str(), flags, 0).ok()?;
        let mapped = len.checked_add(start.checked_sub(first)?)? as usize;
        let at = file.map_to_read(offset, mapped).ok()?;
        // Asked of the kernel in the same words: what `stat` says of files in containers is something else.
        let maps_after = ProcFile::read(c"/proc/self/maps");
        let ours = maps_after.as_ref().and_then(|maps| FileMapping::at(maps, at as u64));
        if ours.is_none_or(|ours| (ours.file, ours.offset) != (hosts.file, offset)) {
            // SAFETY: mapped just above, and nobody knows of it.
            unsafe { system_call::unmap_file(at, mapped) };
            return None;
        }
        self.len.store(len, Ordering::Relaxed);
        self.own.store(at as u64 + (start - first), Ordering::Relaxed);
        Some(())
    }

    fn view(&self) -> TableView<'_> {
        let (own, len) = (self.own.load(Ordering::Relaxed), self.len.load(Ordering::Relaxed));
        // SAFETY: `len` bytes of the file are mapped there, for as long as the object is loaded. They change
        // only where the host's own code would.
        let bytes = unsafe { core::slice::from_raw_parts(own as *const u8, len as usize) };
        TableView { start: self.start.load(Ordering::Relaxed), bytes }
    }

    /// The pages of our mapping, as start and length.
    fn pages(&self) -> (*mut u8, usize) {
        let (own, len) = (self.own.load(Ordering::Relaxed), self.len.load(Ordering::Relaxed));
        let first = own & !(PAGE - 1);
        (first as *mut u8, (own - first + len) as usize)
    }

    fn drop_pages(&self) {
        let (start, len) = self.pages();
        // SAFETY: pages of a file that nobody writes to: what is read next comes from the file again.
        let _ = unsafe { system_call::advise(start, len, libc::MADV_DONTNEED) };
    }

    /// # Safety
    /// Nobody reads the view.
    unsafe fn unmap(&self) {
        let (start, len) = self.pages();
        // SAFETY: our caller promises it.
        unsafe { system_call::unmap_file(start, len) };
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsRawFd;
    use std::path::{Path, PathBuf};

    use super::*;

    const LEN: usize = 3 * PAGE as usize;

    /// A file, and a part of it that is mapped: from its second page on, three pages.
    fn mapped_file(name: &str, protection: i32) -> (PathBuf, u64, Vec<u8>) {
        let path = std::env::temp_dir().join(format!("tftrace-{}-{name}", std::process::id()));
        let bytes: Vec<u8> =
            (0..LEN + PAGE as usize).map(|at| (at * 7 / 3 % 251 + at / 4096) as u8).collect();
        fs::write(&path, &bytes).unwrap();
        let file = fs::File::open(&path).unwrap();
        let fd = file.as_raw_fd();
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let at = unsafe {
            libc::mmap(core::ptr::null_mut(), LEN, protection, libc::MAP_PRIVATE, fd, PAGE as i64)
        };
        assert_ne!(at, libc::MAP_FAILED);
        (path, at as u64, bytes.get(PAGE as usize..).unwrap().to_vec())
    }

    fn place(start: u64, len: usize) -> Place {
        let place = Place::default();
        place.start.store(start, Ordering::Relaxed);
        place.len.store(len as u64, Ordering::Relaxed);
        place
    }

    fn is_mapped_elsewhere(path: &Path, start: u64) -> bool {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let host = format!("{start:x}-");
        maps.lines().any(|line| line.contains(path.to_str().unwrap()) && !line.starts_with(&host))
    }

    /// What of the mapping that begins there is resident.
    fn resident(start: u64) -> String {
        let maps = fs::read_to_string("/proc/self/smaps").unwrap();
        let its = maps.lines().skip_while(|line| !line.starts_with(&format!("{start:x}-")));
        let size = its.into_iter().find_map(|line| line.strip_prefix("Rss:"));
        size.unwrap().trim().to_owned()
    }

    #[test]
    fn a_view_shows_what_is_mapped_and_its_pages_come_back_after_they_were_dropped() {
        let (path, start, bytes) = mapped_file("view", libc::PROT_READ);
        let first = start + 5000; // Not at a page's beginning.
        let place = place(first, LEN); // More than there is.
        place.map().unwrap();
        fs::remove_file(&path).unwrap();
        for _ in 0..2 {
            let view = place.view();
            assert_eq!(view.from(first), bytes.get(5000..));
            assert_eq!(view.from(start + LEN as u64 - 1), bytes.get(LEN - 1..));
            assert_eq!(view.from(start + LEN as u64), None);
            assert_eq!(view.from(first - 1), None);
            let (pages, _) = place.pages();
            assert_ne!(resident(pages as u64), "0 kB");
            place.drop_pages();
            assert_eq!(resident(pages as u64), "0 kB");
        }
        // SAFETY: nobody reads it any more.
        unsafe { place.unmap() };
        assert!(!is_mapped_elsewhere(&path, start));
    }

    #[test]
    fn what_is_not_the_file_that_is_mapped_is_not_believed() {
        let (path, start, bytes) = mapped_file("other", libc::PROT_READ);
        fs::remove_file(&path).unwrap();
        assert_eq!(place(start, LEN).map(), None, "deleted");
        // Which is how the kernel names it now.
        let other = format!("{} (deleted)", path.display());
        let padding = vec![0; PAGE as usize];
        fs::write(&other, [padding, bytes].concat()).unwrap();
        assert_eq!(place(start, LEN).map(), None, "another file under this name");
        assert!(!is_mapped_elsewhere(&path, start));
        fs::remove_file(&other).unwrap();

        let (path, start, _) = mapped_file("writable", libc::PROT_READ | libc::PROT_WRITE);
        assert_eq!(place(start, LEN).map(), None, "it may have been changed in memory");
        fs::remove_file(&path).unwrap();
        let heap = Box::new(0u8);
        assert_eq!(place((&raw const *heap) as u64, 1).map(), None, "of no file");
    }

    #[test]
    fn the_view_of_an_object_is_its_own_until_it_is_unloaded() {
        let (path, start, bytes) = mapped_file("object", libc::PROT_READ);
        let views = TableViews::default();
        for (index, place) in views.0.iter().take(2).enumerate() {
            place.start.store(start + index as u64 * PAGE, Ordering::Relaxed);
            place.len.store(PAGE, Ordering::Relaxed);
            place.state.store(stands_for(WANTED, 7 + index as u32), Ordering::Relaxed);
        }
        let objects = ObjectTable::new().unwrap();
        assert!(views.of(7).is_none(), "wanted only");
        objects.simulate_loaded(7, true);
        objects.simulate_loaded(8, true);
        views.map_wanted(&objects);
        assert_eq!(views.of(7).unwrap().from(start), bytes.get(..PAGE as usize));
        assert_eq!(views.of(8).unwrap().from(start), None);
        let second = start + PAGE;
        assert_eq!(views.of(8).unwrap().from(second), bytes.get(PAGE as usize..2 * PAGE as usize));
        objects.simulate_loaded(7, false);
        views.unloaded(7);
        assert!(views.of(7).is_none() && views.of(8).is_some());
        assert!(views.0.first().unwrap().claim(FREE), "its place is free");
        // The drain dropped pages when it was unloaded.
        let second = views.0.get(1).unwrap();
        assert!(second.change(stands_for(MAPPED, 8), stands_for(DROPPING, 8)));
        assert!(views.of(8).is_some(), "it is read meanwhile");
        objects.simulate_loaded(8, false);
        views.unloaded(8);
        assert!(
            second.change(stands_for(DROPPING, 8), stands_for(MAPPED, 8)),
            "it is still mapped"
        );
        views.look_after(&objects, false);
        assert!(second.claim(FREE));
        assert!(!is_mapped_elsewhere(&path, start));
        fs::remove_file(&path).unwrap();
    }
}
