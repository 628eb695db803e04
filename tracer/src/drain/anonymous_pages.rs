//! How much of a range is the process's own: pages that are of no file, as the kernel finds them in its page
//! table (`PAGEMAP_SCAN`, Linux 6.7).
//!
//! What `/proc/self/smaps` calls anonymous, in less time: that looks at all pages of files, too, whose they are.

use crate::system_call::{self, OpenFile};

/// `struct page_region`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

/// `struct pm_scan_arg`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    regions: u64,
    most_regions: u64,
    most_pages: u64,
    /// Of these a page must be none, of the rest of the mask all.
    inverted: u64,
    mask: u64,
    any_of: u64,
    returned: u64,
}

/// `PAGEMAP_SCAN`: reads and writes a [`Scan`], number 16 of the letter `f`.
const PAGEMAP_SCAN: usize = (3 << 30) | (size_of::<Scan>() << 16) | ((b'f' as usize) << 8) | 16;
const IS_OF_FILE: u64 = 1 << 2;
const IS_PRESENT: u64 = 1 << 3;
const IS_PAGE_OF_ZEROS: u64 = 1 << 5;
const REGIONS: usize = 64;

/// The kernel's page table of this process.
#[derive(Debug)]
pub(super) struct AnonymousPages(OpenFile);

impl AnonymousPages {
    /// `None`: the kernel cannot be asked.
    pub(super) fn open() -> Option<Self> {
        let table = Self(system_call::open(c"/proc/self/pagemap", libc::O_RDONLY, 0).ok()?);
        table.bytes_in(0, 0).is_some().then_some(table)
    }

    /// The bytes of `start..end` that are in memory and of no file. `None`: the kernel does not say.
    pub(super) fn bytes_in(&self, start: u64, end: u64) -> Option<u64> {
        let (mut at, mut bytes) = (start, 0u64);
        loop {
            let mut regions = [Region::default(); REGIONS];
            let mut scan = Scan {
                size: size_of::<Scan>() as u64,
                start: at,
                end,
                regions: regions.as_mut_ptr() as u64,
                most_regions: REGIONS as u64,
                inverted: IS_OF_FILE | IS_PAGE_OF_ZEROS,
                mask: IS_PRESENT | IS_OF_FILE | IS_PAGE_OF_ZEROS,
                returned: IS_PRESENT,
                ..Scan::default()
            };
            // SAFETY: the request's structure, whose regions are writable.
            let found = unsafe { self.0.control(PAGEMAP_SCAN, (&raw mut scan).cast()) }.ok()?;
            let found = regions.get(..found)?;
            let len = |region: &Region| region.end.saturating_sub(region.start);
            bytes = bytes.saturating_add(found.iter().map(len).sum());
            if scan.walk_end >= end || scan.walk_end <= at {
                return Some(bytes);
            }
            at = scan.walk_end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_the_kernels_list_of_mappings_says() {
        let Some(table) = AnonymousPages::open() else { return };
        // Written, read only, and never touched, in turn.
        let mut block = vec![0u8; 3 * 300 * 4096];
        for page in (0..300).map(|page| page * 3 * 4096) {
            block[page + 8192] = 1;
            assert_eq!(std::hint::black_box(block[page + 4096]), 0);
        }
        let (mut start, mut end, mut compared) = (0, 0, 0u64);
        for line in std::fs::read_to_string("/proc/self/smaps").unwrap().lines() {
            if let Some(range) = crate::process::proc_file::map_range(line.as_bytes()) {
                (start, end) = range;
            } else if let Some(size) = line.strip_prefix("Anonymous:")
                && (start..end).contains(&(block.as_ptr() as u64))
            {
                let kilobytes: u64 = size.trim().trim_end_matches(" kB").parse().unwrap();
                assert!(kilobytes >= 4 * 300);
                assert_eq!(table.bytes_in(start, end).unwrap(), kilobytes * 1024);
                compared += 1;
            }
        }
        assert_eq!(compared, 1);
    }
}
