//! Where the entries of a page stand, in eight bytes: a long trace has a million pages of events.

use crate::ids::Ticks;
use crate::page_codec::PageThread;

/// Where a page's entries stand, raw or as a chunk: the lowest bit says which of the two.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source(u64);

/// The same, told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A chunk at this byte.
    Chunk(usize),
    /// A raw page, by its number in the list of them.
    Raw(usize),
}

impl Source {
    /// A chunk at this byte.
    pub(super) fn chunk(offset: usize) -> Self {
        Self((offset as u64) << 1)
    }

    /// The raw page of this number.
    pub(super) fn raw(number: usize) -> Self {
        Self((number as u64) << 1 | 1)
    }

    pub(super) fn place(self) -> Place {
        let number = (self.0 >> 1) as usize;
        if self.0 & 1 == 0 { Place::Chunk(number) } else { Place::Raw(number) }
    }
}

/// A page of a thread that no chunk replaces.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawPage {
    /// In bytes from the start of the file.
    pub(super) offset: usize,
    pub(super) thread: PageThread,
}

/// A page of events and the time of its first.
#[derive(Clone, Copy, Debug)]
pub(super) struct EventPage {
    pub(super) source: Source,
    pub(super) first: Ticks,
}

const _: () = assert!(
    size_of::<EventPage>() == 16,
    "a trace of a billion events has 730,000 of these, and two times that while they grow"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_and_raw_pages_are_told_apart() {
        for at in [0, 8, 1 << 40] {
            assert_eq!(Source::chunk(at).place(), Place::Chunk(at));
            assert_eq!(Source::raw(at).place(), Place::Raw(at));
        }
    }
}
