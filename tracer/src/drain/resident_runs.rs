//! Where in a mapping the resident pages are.
//!
//! Mappings that lie side by side are one to the kernel, which counts their pages together. What of them
//! is touched and what is not is seen page by page.

use crate::system_call;

pub(super) const PAGE: u64 = 4096;
/// A gap of so many pages ends a run: less is not worth a line in the trace.
const GAP: u64 = 256;
/// The most runs of a mapping; the last one reaches to its end then.
const MOST: usize = 16;
/// A larger mapping is not looked at, in pages: 16 GiB, which take the kernel some 20 ms.
const LARGEST: u64 = 4 << 20;

/// Adjacent pages, most of which are resident.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    /// Its first byte.
    pub(super) start: u64,
    /// The byte after its last one.
    pub(super) end: u64,
    /// Resident bytes.
    pub(super) resident: u64,
}

/// Calls `each` with the address of every page of `start..end`, and whether it is resident. False: the
/// kernel does not say, or not for all of it.
fn each_page(start: u64, end: u64, mut each: impl FnMut(u64, bool)) -> bool {
    let (mut at, mut room) = (start, [0u8; 2048]);
    while at < end {
        let left = (end - at).div_ceil(PAGE).min(room.len() as u64);
        let Some(seen) = room.get_mut(..left as usize) else { return false };
        if system_call::are_resident(at, seen).is_err() {
            return false;
        }
        for page in seen {
            each(at, *page & 1 == 1);
            at = at.saturating_add(PAGE);
        }
    }
    true
}

/// Bytes of `start..end` that are resident, as far as the kernel says.
pub(super) fn resident(start: u64, end: u64) -> u64 {
    let mut pages = 0u64;
    each_page(start, end, |_, is_resident| pages = pages.saturating_add(u64::from(is_resident)));
    pages.saturating_mul(PAGE)
}

/// Cuts `start..end`, of which so many bytes are resident, into its runs, and calls `each` with them by
/// address. Nothing is lost: together they have what the whole has.
pub(super) fn of(start: u64, end: u64, resident: u64, mut each: impl FnMut(Run)) {
    let whole = Run { start, end, resident };
    let pages = end.saturating_sub(start) / PAGE;
    if pages.saturating_sub(resident / PAGE) < GAP || pages > LARGEST {
        return each(whole);
    }
    let mut runs = Runs::default();
    if !each_page(start, end, |at, is_resident| runs.add(at, is_resident, end)) {
        return each(whole);
    }
    // The kernel's two ways of counting differ by its page of zeros, and by what happens meanwhile.
    let seen: u64 = runs.list.iter().map(|run| run.resident).sum();
    let mut left = resident;
    let Some(found) = runs.list.get(..runs.len).filter(|_| seen != 0) else { return each(whole) };
    for (index, run) in found.iter().enumerate() {
        let is_last = index.saturating_add(1) == runs.len;
        let share = (run.resident / PAGE).saturating_mul(resident) / (seen / PAGE).max(1);
        let mine = if is_last { left } else { (share / PAGE).saturating_mul(PAGE).min(left) };
        left = left.saturating_sub(mine);
        each(Run { resident: mine, ..*run });
    }
}

#[derive(Default)]
struct Runs {
    list: [Run; MOST],
    len: usize,
}

impl Runs {
    fn add(&mut self, at: u64, is_resident: bool, end: u64) {
        if !is_resident {
            return;
        }
        let is_full = self.len == MOST;
        let last = self.len.checked_sub(1).and_then(|last| self.list.get_mut(last));
        if let Some(run) = last
            && (is_full || at.saturating_sub(run.end) < GAP * PAGE)
        {
            run.end = at.saturating_add(PAGE);
            run.resident = run.resident.saturating_add(PAGE);
        } else if let Some(next) = self.list.get_mut(self.len) {
            *next = Run { start: at, end: at.saturating_add(PAGE).min(end), resident: PAGE };
            self.len = self.len.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Maps so many pages, and touches those that `is_touched` says.
    fn mapped(pages: usize, is_touched: impl Fn(usize) -> bool) -> u64 {
        let bytes = pages * PAGE as usize;
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, in nobody's way.
        let start = unsafe { libc::mmap(core::ptr::null_mut(), bytes, rights, flags, -1, 0) };
        assert_ne!(start, libc::MAP_FAILED);
        // SAFETY: all of the new mapping; pages of the usual size are what is counted here.
        unsafe { libc::madvise(start, bytes, libc::MADV_NOHUGEPAGE) };
        for page in (0..pages).filter(|&page| is_touched(page)) {
            let byte = start.cast::<u8>().wrapping_add(page * PAGE as usize);
            // SAFETY: inside of the mapping, which is writable.
            unsafe { byte.write_volatile(1) };
        }
        start as u64
    }

    fn runs(start: u64, pages: u64, resident: u64) -> Vec<(u64, u64, u64)> {
        let mut found = Vec::new();
        of(start, start + pages * PAGE, resident * PAGE, |run| {
            let pages = |address: u64| (address - start) / PAGE;
            found.push((pages(run.start), pages(run.end), run.resident / PAGE));
        });
        found
    }

    #[test]
    fn a_mapping_is_cut_where_much_of_it_was_never_touched() {
        let touched = |page| (300..400).contains(&page) || page == 450 || page >= 2000;
        let start = mapped(3000, touched);
        assert_eq!(runs(start, 3000, 1101), [(300, 451, 101), (2000, 3000, 1000)]);
        assert_eq!(resident(start, start + 3000 * PAGE), 1101 * PAGE);
        // What the kernel's list says is shared out, all of it.
        assert_eq!(runs(start, 3000, 550), [(300, 451, 50), (2000, 3000, 500)]);
        // A small gap is none.
        assert_eq!(runs(start + 2000 * PAGE, 1000, 900), [(0, 1000, 900)]);
    }

    #[test]
    fn what_is_cut_too_often_keeps_all_its_pages() {
        let pages = 300 * 2 * MOST;
        let start = mapped(pages, |page| page % 300 == 0);
        let found = runs(start, pages as u64, 2 * MOST as u64);
        assert_eq!(found.len(), MOST);
        assert_eq!(found.iter().map(|run| run.2).sum::<u64>(), 2 * MOST as u64);
        assert_eq!(found.last(), Some(&(4500, 9301, 17)));
    }
}
