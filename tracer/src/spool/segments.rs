//! Where the pages of the trace file are mapped: in segments, each made when its first page is needed.
//!
//! A host may limit its address space while it runs, so what is mapped follows what is used. A
//! segment is mapped from the one before it, without the file's descriptor or its path: neither may
//! be there any more. Never unmaps a segment.

use core::sync::atomic::{AtomicPtr, Ordering};

use tftrace_format::page::PAGE_BYTES;

use crate::system_call::{self, Errno, OpenFile};

/// Pages of the first segment. Each further one has as many as all before it together.
pub(super) const FIRST_PAGES: u64 = 256;
const SEGMENTS: usize = 14;
/// All that can ever be mapped.
pub(super) const MOST_PAGES: u64 = FIRST_PAGES << (SEGMENTS - 1);
/// What the kernel maps in.
const KERNEL_PAGE: usize = 4096;

/// The segments.
#[derive(Debug)]
pub(super) struct Segments([AtomicPtr<u8>; SEGMENTS]);

/// The number of the segment that a page is in.
#[inline(always)]
fn segment_of(page: u64) -> usize {
    (page / FIRST_PAGES).checked_ilog2().map_or(0, |power| power as usize + 1)
}

/// The first page of a segment.
#[inline(always)]
fn start_of(segment: usize) -> u64 {
    if segment == 0 { 0 } else { FIRST_PAGES << (segment - 1) }
}

/// The page behind the segment that `page` is in.
#[inline(always)]
pub(super) fn end_of_segment(page: u64) -> u64 {
    FIRST_PAGES << segment_of(page)
}

impl Segments {
    /// Maps the beginning of a file; `pages` is no more than [`FIRST_PAGES`].
    pub(super) fn new(file: &OpenFile, pages: u64) -> Result<Self, Errno> {
        let segments = Self([const { AtomicPtr::new(core::ptr::null_mut()) }; SEGMENTS]);
        let len = pages as usize * PAGE_BYTES;
        let first = file.map_shared(len)?;
        // Page by page: else the kernel reads the zeros of megabytes that are not used yet, and keeps them in pieces that
        // come back as a whole where one page of them is touched. Copies of the mapping have this too.
        // SAFETY: changes how the kernel reads the file, and nothing that is read.
        let _ = unsafe { system_call::advise(first, len, libc::MADV_RANDOM) };
        if let Some(place) = segments.0.first() {
            place.store(first, Ordering::Relaxed); // Not shared yet.
        }
        Ok(segments)
    }

    /// The first byte of a page whose segment is mapped; null if it is not.
    #[inline(always)]
    pub(super) fn page(&self, page: u64) -> *mut u8 {
        let segment = segment_of(page);
        // Acquire: pairs with the release in `map`.
        let base =
            self.0.get(segment).map_or(core::ptr::null_mut(), |it| it.load(Ordering::Acquire));
        if base.is_null() {
            return base;
        }
        let within = page.wrapping_sub(start_of(segment)) as usize;
        base.wrapping_add(within.wrapping_mul(PAGE_BYTES))
    }

    /// Maps the segment that a page is in, if it is not. False: there is no room for it.
    pub(super) fn map(&self, page: u64) -> bool {
        if !self.page(page).is_null() {
            return true;
        }
        let segment = segment_of(page);
        let (Some(place), Some(last)) = (self.0.get(segment), start_of(segment).checked_sub(1))
        else {
            return false;
        };
        // The one before it may have been skipped by a thread that came here first.
        if !self.map(last) {
            return false;
        }
        let before = self.page(last).wrapping_add(PAGE_BYTES - KERNEL_PAGE);
        let bytes = (end_of_segment(page) - start_of(segment)) as usize * PAGE_BYTES;
        // The last piece of the segment before, and what follows it in the file.
        let Ok(start) = system_call::map_again(before, KERNEL_PAGE + bytes) else { return false };
        let base = start.wrapping_add(KERNEL_PAGE);
        // SAFETY: the piece that is mapped twice now; nothing uses this copy of it.
        unsafe { system_call::unmap(start, KERNEL_PAGE) };
        let empty = core::ptr::null_mut();
        // Release: who finds the segment finds it mapped.
        if place.compare_exchange(empty, base, Ordering::AcqRel, Ordering::Acquire).is_err() {
            // SAFETY: another thread was faster, and nobody knows this mapping.
            unsafe { system_call::unmap(base, bytes) };
        }
        true
    }

    /// The mapped pieces of the first `pages` pages: where each begins, and how long it is.
    pub(super) fn pieces(&self, pages: u64) -> impl Iterator<Item = (*mut u8, usize)> + '_ {
        (0..SEGMENTS).map(start_of).take_while(move |start| *start < pages).filter_map(
            move |start| {
                let base = self.page(start);
                let len = end_of_segment(start).min(pages).saturating_sub(start) as usize;
                (!base.is_null()).then_some((base, len * PAGE_BYTES))
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system_call::open;

    #[test]
    fn segments_follow_each_other_without_a_gap() {
        let mut page = 0;
        for segment in 0..SEGMENTS {
            assert_eq!((start_of(segment), segment_of(page)), (page, segment));
            page = end_of_segment(page);
            assert_eq!(segment_of(page - 1), segment);
        }
        assert_eq!(page, MOST_PAGES);
    }

    #[test]
    fn a_segment_is_mapped_without_the_file_and_shows_its_part() {
        let directory =
            std::env::temp_dir().join(format!("tftrace-segments-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("file");
        let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        let file = open(&name, libc::O_RDWR | libc::O_CREAT, 0o600).unwrap();
        file.set_len(4 * FIRST_PAGES * PAGE_BYTES as u64).unwrap();
        let segments = Segments::new(&file, FIRST_PAGES).unwrap();
        drop(file);
        for page in [0, FIRST_PAGES - 1, 3 * FIRST_PAGES, FIRST_PAGES] {
            assert!(segments.map(page));
            // SAFETY: mapped, and inside the file.
            unsafe { segments.page(page).cast::<u64>().write(page + 1) };
        }
        let bytes = std::fs::read(&path).unwrap();
        for page in [0, FIRST_PAGES - 1, 3 * FIRST_PAGES, FIRST_PAGES] {
            let at = page as usize * PAGE_BYTES;
            assert_eq!(bytes[at..at + 8], (page + 1).to_le_bytes(), "page {page}");
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
