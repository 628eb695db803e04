//! What happened to memory, and its three words in a page.
//!
//! ```text
//! word 0   0..48 address   48..51 kind   51..54 domain   54 file-backed   55..63 size, high bits   63 size in 4 KiB
//! word 1   0..32 stack     32..64 size, low bits
//! word 2   0..56 ticks     56..64 check byte of all three words
//! ```
//! A slot is committed by the store of word 2; a slot whose word 2 is zero is empty.

use crate::check;
use crate::ids::{LabelId, StackId, Ticks};

/// Whose memory it is. Addresses of different domains are different spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Domain {
    /// The C heap: malloc, free and their relatives.
    Malloc = 0,
    /// Address ranges taken with mmap, released with munmap.
    Mmap = 1,
    /// Blocks of CPython's object and mem allocators.
    Python = 2,
    /// Tensors inside TensorFlow's own pools.
    TensorFlow = 3,
    /// Memory of a CUDA device.
    Cuda = 4,
    /// Host memory pinned for, or managed by, CUDA.
    CudaHost = 5,
}

impl Domain {
    /// All domains, in the order of their numbers.
    pub const ALL: [Domain; 6] = [
        Domain::Malloc,
        Domain::Mmap,
        Domain::Python,
        Domain::TensorFlow,
        Domain::Cuda,
        Domain::CudaHost,
    ];

    /// The domain with this number.
    #[inline(always)]
    pub fn from_wire(number: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// Whether `TFTRACE_SAMPLE` concerns it. Mappings and device memory are few, large, and mapped or
    /// freed in parts: they are recorded in full.
    #[inline(always)]
    pub fn is_sampled(self) -> bool {
        matches!(self, Domain::Malloc | Domain::Python | Domain::TensorFlow)
    }

    /// The name that reports and options use.
    pub fn name(self) -> &'static str {
        match self {
            Domain::Malloc => "malloc",
            Domain::Mmap => "mmap",
            Domain::Python => "python",
            Domain::TensorFlow => "tensorflow",
            Domain::Cuda => "cuda",
            Domain::CudaHost => "cuda-host",
        }
    }
}

/// Something that happened at a point in time. Sizes are the bytes that were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A block came to life. Stamped after the real call.
    Allocated {
        /// When.
        time: Ticks,
        /// Whose memory.
        domain: Domain,
        /// Its first byte; below 2^48.
        address: u64,
        /// Bytes asked for.
        size: u64,
        /// Who asked; `None` when no stack could be recorded.
        stack: Option<StackId>,
        /// An mmap of a file, which is page cache and not memory of the process's own.
        file_backed: bool,
    },
    /// A block died. Stamped before the real call, so that a reuse of the address sorts later.
    Freed {
        /// When.
        time: Ticks,
        /// Whose memory.
        domain: Domain,
        /// The address that was handed in.
        address: u64,
    },
    /// A range died, whole blocks or parts of them (munmap).
    RangeFreed {
        /// When.
        time: Ticks,
        /// Whose memory.
        domain: Domain,
        /// First byte of the range.
        address: u64,
        /// Bytes that were handed in; the range covers whole pages ([`range_end`]).
        size: u64,
    },
    /// An allocation failed. Only CUDA's and TensorFlow's are recorded: where an out-of-memory begins.
    Failed {
        /// When.
        time: Ticks,
        /// Whose memory was asked for.
        domain: Domain,
        /// Bytes asked for.
        size: u64,
        /// Who asked; `None` when no stack could be recorded.
        stack: Option<StackId>,
        /// The error that the function returned, as CUDA numbers them; 0: it returned no number.
        error: u32,
    },
    /// A CUDA context was destroyed, and with it all memory that lived in it. Stamped before the
    /// real call.
    ContextEnded {
        /// When.
        time: Ticks,
        /// The number that the frames of its memory carry.
        context: u32,
    },
    /// Temporaries of a kind were folded, so many since the last such event of theirs, more or less: the totals have
    /// them. Stamped with when the last of them was allocated.
    Folded {
        /// When.
        time: Ticks,
        /// Whose memory.
        domain: Domain,
        /// Bytes that each asked for.
        size: u64,
        /// Who asked; `None` when no stack could be recorded.
        stack: Option<StackId>,
        /// How many; below 2^48.
        count: u64,
    },
    /// The program called `tftrace_mark`.
    Marked {
        /// When.
        time: Ticks,
        /// Which name it gave.
        label: LabelId,
    },
}

/// The end of the range that mmap, munmap or mremap of `size` bytes at `address` means.
pub fn range_end(address: u64, size: u64) -> u64 {
    const PAGE: u64 = 4096;
    address.saturating_add(size.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX))
}

impl Event {
    /// When it happened.
    pub fn time(&self) -> Ticks {
        match *self {
            Event::Allocated { time, .. }
            | Event::Freed { time, .. }
            | Event::RangeFreed { time, .. }
            | Event::Failed { time, .. }
            | Event::ContextEnded { time, .. }
            | Event::Folded { time, .. }
            | Event::Marked { time, .. } => time,
        }
    }

    /// Frees come before allocations of the same tick: the address was released first.
    pub fn order(&self) -> (Ticks, bool) {
        let frees = matches!(
            self,
            Event::Freed { .. } | Event::RangeFreed { .. } | Event::ContextEnded { .. }
        );
        (self.time(), !frees)
    }
}

const KIND_ALLOCATED: u64 = 1;
const KIND_FREED: u64 = 2;
const KIND_RANGE_FREED: u64 = 3;
const KIND_MARKED: u64 = 4;
const KIND_FAILED: u64 = 5;
const KIND_CONTEXT_ENDED: u64 = 6;
const KIND_FOLDED: u64 = 7;

const ADDRESS_MASK: u64 = (1 << 48) - 1;
const SIZE_BITS: u32 = 40;
const IN_PAGES: u64 = 1 << 63;
const FILE_BACKED: u64 = 1 << 54;

/// The bytes of an event in a page.
pub const EVENT_BYTES: usize = 24;

/// What most events are, without a look at what they would be otherwise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawBlock {
    pub(crate) time: u64,
    pub(crate) domain: u8,
    pub(crate) address: u64,
    /// `None`: it died.
    pub(crate) allocated: Option<RawAllocation>,
}

/// What is known of a block that came to life.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawAllocation {
    pub(crate) size: u64,
    pub(crate) stack: u32,
    pub(crate) file_backed: bool,
}

/// An event as it stands in a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawEvent(pub [u64; 3]);

impl RawEvent {
    /// Packs an event; `None` if the address or the count does not fit (2^48 or more).
    #[inline(always)]
    pub fn pack(event: &Event) -> Option<Self> {
        let (kind, domain, address, size, stack, flags) = match *event {
            Event::Allocated { domain, address, size, stack, file_backed, .. } => {
                let flags = if file_backed { FILE_BACKED } else { 0 };
                (KIND_ALLOCATED, domain, address, size, StackId::to_wire(stack), flags)
            }
            Event::Freed { domain, address, .. } => (KIND_FREED, domain, address, 0, 0, 0),
            Event::RangeFreed { domain, address, size, .. } => {
                (KIND_RANGE_FREED, domain, address, size, 0, 0)
            }
            Event::Marked { label, .. } => (KIND_MARKED, Domain::Malloc, 0, 0, label.0, 0),
            Event::Failed { domain, size, stack, error, .. } => {
                (KIND_FAILED, domain, u64::from(error), size, StackId::to_wire(stack), 0)
            }
            Event::ContextEnded { context, .. } => {
                (KIND_CONTEXT_ENDED, Domain::Cuda, 0, 0, context, 0)
            }
            Event::Folded { domain, size, stack, count, .. } => {
                (KIND_FOLDED, domain, count, size, StackId::to_wire(stack), 0)
            }
        };
        if address > ADDRESS_MASK {
            return None;
        }
        // Above 2^40 a size is kept in 4 KiB units, rounded up: only address space is that large.
        let (size, unit) = if size >> SIZE_BITS == 0 {
            (size, 0)
        } else {
            ((size >> 12).saturating_add(u64::from(size & 0xFFF != 0)), IN_PAGES)
        };
        let high = (size >> 32) & 0xFF;
        let word0 = address | (kind << 48) | ((domain as u64) << 51) | flags | (high << 55) | unit;
        let word1 = u64::from(stack) | ((size & 0xFFFF_FFFF) << 32);
        Some(Self([word0, word1, check::seal(event.time().0, word0 ^ word1)]))
    }

    /// Whether the slot holds nothing.
    pub fn is_empty(&self) -> bool {
        self.0[2] == 0
    }

    /// As [`Event::order`]; `None` if its bytes are damaged, or it is none.
    #[inline]
    pub fn order(&self) -> Option<(Ticks, bool)> {
        if self.is_empty() {
            return None;
        }
        let [word0, word1, word2] = self.0;
        let time = Ticks(check::open(word2, word0 ^ word1)?);
        let is_known = word0 >> 51 & 7 < Domain::ALL.len() as u64;
        let comes_later = match word0 >> 48 & 7 {
            KIND_FREED | KIND_RANGE_FREED | KIND_CONTEXT_ENDED => false,
            KIND_ALLOCATED | KIND_MARKED | KIND_FAILED | KIND_FOLDED => true,
            _ => return None,
        };
        is_known.then_some((time, comes_later))
    }

    /// The block that came to life or died with it, of an event that is not damaged; `None` for any other one.
    #[inline]
    pub(crate) fn block(&self) -> Option<RawBlock> {
        let [word0, word1, word2] = self.0;
        let kind = word0 >> 48 & 7;
        let is_block = kind == KIND_ALLOCATED || kind == KIND_FREED;
        is_block.then(|| RawBlock {
            time: check::value(word2),
            domain: (word0 >> 51 & 7) as u8,
            address: word0 & ADDRESS_MASK,
            allocated: (kind == KIND_ALLOCATED).then(|| RawAllocation {
                size: size_of_words(word0, word1),
                stack: word1 as u32,
                file_backed: word0 & FILE_BACKED != 0,
            }),
        })
    }

    /// When the block of this address was allocated, its size and its stack, if this is the event of that. For who
    /// wrote the words: whether they are damaged is not looked at.
    #[inline(always)]
    pub fn allocation_of(
        &self,
        domain: Domain,
        address: u64,
    ) -> Option<(Ticks, u64, Option<StackId>)> {
        let [word0, word1, word2] = self.0;
        let who = ADDRESS_MASK | (7 << 48) | (7 << 51);
        if word0 & who != address | (KIND_ALLOCATED << 48) | ((domain as u64) << 51) {
            return None;
        }
        let time = Ticks(check::value(word2));
        Some((time, size_of_words(word0, word1), StackId::new((word1 & 0xFFFF_FFFF) as u32)))
    }

    /// The event, or `None` if its bytes are damaged.
    pub fn unpack(&self) -> Option<Event> {
        let [word0, word1, word2] = self.0;
        let time = Ticks(check::open(word2, word0 ^ word1)?);
        let domain = Domain::from_wire((word0 >> 51) & 7)?;
        let address = word0 & ADDRESS_MASK;
        let size = size_of_words(word0, word1);
        let number = (word1 & 0xFFFF_FFFF) as u32;
        Some(match (word0 >> 48) & 7 {
            KIND_ALLOCATED => Event::Allocated {
                time,
                domain,
                address,
                size,
                stack: StackId::new(number),
                file_backed: word0 & FILE_BACKED != 0,
            },
            KIND_FREED => Event::Freed { time, domain, address },
            KIND_RANGE_FREED => Event::RangeFreed { time, domain, address, size },
            KIND_MARKED => Event::Marked { time, label: LabelId(number) },
            KIND_FAILED => Event::Failed {
                time,
                domain,
                size,
                stack: StackId::new(number),
                error: address as u32,
            },
            KIND_CONTEXT_ENDED => Event::ContextEnded { time, context: number },
            KIND_FOLDED => {
                Event::Folded { time, domain, size, stack: StackId::new(number), count: address }
            }
            _ => return None,
        })
    }
}

#[inline(always)]
fn size_of_words(word0: u64, word1: u64) -> u64 {
    let size = (word1 >> 32) | (((word0 >> 55) & 0xFF) << 32);
    if word0 & IN_PAGES != 0 { size << 12 } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_survives_packing() {
        let event = Event::Allocated {
            time: Ticks(77),
            domain: Domain::CudaHost,
            address: 0x7FFF_1234_5678,
            size: (1 << 40) - 1,
            stack: StackId::new(u32::MAX),
            file_backed: true,
        };
        let raw = RawEvent::pack(&event).unwrap();
        assert_eq!(raw.unpack(), Some(event));
        let found = raw.allocation_of(Domain::CudaHost, 0x7FFF_1234_5678);
        assert_eq!(found, Some((Ticks(77), (1 << 40) - 1, StackId::new(u32::MAX))));
        assert_eq!(raw.allocation_of(Domain::Malloc, 0x7FFF_1234_5678), None);
        assert_eq!(raw.allocation_of(Domain::CudaHost, 0x7FFF_1234_5679), None);
        let free = Event::Freed { time: Ticks(1), domain: Domain::Malloc, address: 16 };
        assert_eq!(RawEvent::pack(&free).unwrap().allocation_of(Domain::Malloc, 16), None);
    }

    #[test]
    fn what_is_no_block_survives_packing() {
        for event in [
            Event::Failed {
                time: Ticks(77),
                domain: Domain::Cuda,
                size: 6 << 30,
                stack: StackId::new(5),
                error: 2,
            },
            Event::ContextEnded { time: Ticks(78), context: (1 << 24) - 1 },
            Event::Folded {
                time: Ticks(79),
                domain: Domain::Python,
                size: 28,
                stack: StackId::new(9),
                count: (1 << 48) - 1,
            },
        ] {
            assert_eq!(RawEvent::pack(&event).unwrap().unpack(), Some(event));
        }
    }

    #[test]
    fn sizes_above_a_tebibyte_are_rounded_up_to_4_kib() {
        let event = Event::RangeFreed {
            time: Ticks(1),
            domain: Domain::Mmap,
            address: 0x1000,
            size: (1 << 44) + 1,
        };
        let Some(Event::RangeFreed { size, .. }) = RawEvent::pack(&event).unwrap().unpack() else {
            panic!("not a range");
        };
        assert_eq!(size, (1 << 44) + 4096);
    }

    #[test]
    fn an_address_that_does_not_fit_is_refused() {
        let event = Event::Freed { time: Ticks(1), domain: Domain::Malloc, address: 1 << 48 };
        assert_eq!(RawEvent::pack(&event), None);
    }
}
