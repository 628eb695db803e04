//! The stack tree: a node is a frame below a parent node, and names the whole stack above it.
//!
//! ```text
//! 4 bytes   0..24 parent (0 = root)   24..32 check byte of parent and frame
//! 8 bytes   the frame    60..64 kind   native: 40..60 mapping, 0..40 offset   raw: 0..48 address
//!                        Python: 24..56 code, 0..24 instruction   op: 0..32 op
//!                        for, pool: 0..3 domain
//!                        CUDA: 0..4 kind, 4..20 device + 1 (0 = unknown), 20..44 context
//! ```
//! The upper four bytes of the frame are stored last: they are never zero.

use crate::check;
use crate::cuda_memory::CudaMemory;
use crate::event::Domain;
use crate::ids::{CodeId, MappingId, OpId, StackId};

/// The bytes of a node in a page.
pub const NODE_BYTES: usize = 12;
/// Parents are below this: no stack that others go on from has a larger number.
pub const PARENT_LIMIT: u32 = 1 << 24;
/// The bytes of a node in a page of [`crate::page::PageKind::WideNodes`].
#[cfg(feature = "reader")]
pub(crate) const WIDE_NODE_BYTES: usize = 16;

/// One frame of a call stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Frame {
    /// A return address in a mapped object: bytes from the start of its mapping.
    Native {
        /// Which loading of which object.
        mapping: MappingId,
        /// Bytes from the start of the mapping; below 2^40.
        offset: u64,
    },
    /// A return address in memory that belongs to no known object (generated code).
    Raw {
        /// The address; below 2^48.
        address: u64,
    },
    /// A Python function that was running, below the native frame of the interpreter that ran it.
    Python {
        /// Which code object.
        code: CodeId,
        /// The instruction it had reached, in units of two bytes from the code's first; below 2^24.
        instruction: u32,
    },
    /// The stack above scheduled the work that the frames below did on another thread.
    Scheduled,
    /// What the block is for, as the framework named it: the leaf of a tensor's stack. A block of
    /// the C heap with such a leaf counts as memory of [`Domain::TensorFlow`].
    Op(OpId),
    /// A leaf: the block counts as memory of this domain, whose allocator took it from another's.
    For(Domain),
    /// A leaf: the block is a pool, out of which the allocator of this domain cuts its blocks.
    Pool(Domain),
    /// Memory that CUDA gave out: a leaf, or below it the leaf that says what the block is for. An
    /// op below it counts as memory of this kind, and not of [`Domain::TensorFlow`].
    Cuda(CudaMemory),
    /// Frames were left out here, because the stack is deeper than `TFTRACE_DEPTH`.
    Truncated,
    /// Frames are missing here, because the unwinder could not go on.
    Unknown,
}

const KIND_NATIVE: u64 = 1;
const KIND_RAW: u64 = 2;
const KIND_TRUNCATED: u64 = 3;
const KIND_UNKNOWN: u64 = 4;
const KIND_PYTHON: u64 = 5;
const KIND_SCHEDULED: u64 = 6;
const KIND_OP: u64 = 7;
const KIND_FOR: u64 = 8;
const KIND_POOL: u64 = 9;
const KIND_CUDA: u64 = 10;
const INSTRUCTION_MASK: u64 = (1 << 24) - 1;
const OFFSET_MASK: u64 = (1 << 40) - 1;

impl Frame {
    /// The frame as one word. Never zero. Values that do not fit give [`Frame::Unknown`].
    #[inline(always)]
    pub fn to_wire(self) -> u64 {
        match self {
            Frame::Native { mapping, offset }
                if offset <= OFFSET_MASK && mapping.0 < MappingId::LIMIT =>
            {
                (KIND_NATIVE << 60) | (u64::from(mapping.0) << 40) | offset
            }
            Frame::Raw { address } if address >> 48 == 0 => (KIND_RAW << 60) | address,
            Frame::Python { code, instruction } => {
                let instruction = u64::from(instruction).min(INSTRUCTION_MASK);
                (KIND_PYTHON << 60) | (u64::from(code.0) << 24) | instruction
            }
            Frame::Truncated => KIND_TRUNCATED << 60,
            Frame::Scheduled => KIND_SCHEDULED << 60,
            Frame::Op(op) => (KIND_OP << 60) | u64::from(op.0),
            Frame::For(domain) => (KIND_FOR << 60) | domain as u64,
            Frame::Pool(domain) => (KIND_POOL << 60) | domain as u64,
            Frame::Cuda(memory) => (KIND_CUDA << 60) | memory.to_wire(),
            _ => KIND_UNKNOWN << 60,
        }
    }

    /// The frame of a word, or `None` for a kind this version does not know.
    pub fn from_wire(word: u64) -> Option<Self> {
        Some(match word >> 60 {
            KIND_NATIVE => Frame::Native {
                mapping: MappingId(((word >> 40) & u64::from(MappingId::LIMIT - 1)) as u32),
                offset: word & OFFSET_MASK,
            },
            KIND_RAW => Frame::Raw { address: word & ((1 << 48) - 1) },
            KIND_PYTHON => Frame::Python {
                code: CodeId((word >> 24) as u32),
                instruction: (word & INSTRUCTION_MASK) as u32,
            },
            KIND_TRUNCATED => Frame::Truncated,
            KIND_SCHEDULED => Frame::Scheduled,
            KIND_OP => Frame::Op(OpId(word as u32)),
            KIND_FOR => Frame::For(Domain::from_wire(word & 7)?),
            KIND_POOL => Frame::Pool(Domain::from_wire(word & 7)?),
            KIND_CUDA => Frame::Cuda(CudaMemory::from_wire(word)?),
            KIND_UNKNOWN => Frame::Unknown,
            _ => return None,
        })
    }
}

/// One call stack: a frame below a parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// The stack of the caller; `None` at the root.
    pub parent: Option<StackId>,
    /// The innermost frame.
    pub frame: Frame,
}

impl Node {
    /// The node as it stands in a page, in three words; `None` if its parent's number is too large.
    pub fn to_wire(self) -> Option<[u32; 3]> {
        let (parent, frame) = (StackId::to_wire(self.parent), self.frame.to_wire());
        let words = [sealed(parent, frame), frame as u32, (frame >> 32) as u32];
        (parent < PARENT_LIMIT).then_some(words)
    }

    /// The node of these words, or `None` if they are damaged.
    pub fn from_wire([first, low, high]: [u32; 3]) -> Option<Self> {
        let frame = u64::from(low) | u64::from(high) << 32;
        let parent = first % PARENT_LIMIT;
        if sealed(parent, frame) != first {
            return None;
        }
        Some(Self { parent: StackId::new(parent), frame: Frame::from_wire(frame)? })
    }

    /// The node of two words of 64 bits, as versions 1 and 2 of the format have it: the first is the parent with a
    /// check byte over both, the second the frame. `None` if they are damaged.
    #[cfg(feature = "reader")]
    pub(crate) fn from_wide(words: [u64; 2]) -> Option<Self> {
        let parent = check::open(words[0], words[1])?;
        let parent = StackId::new(u32::try_from(parent).ok()?);
        Some(Self { parent, frame: Frame::from_wire(words[1])? })
    }
}

/// The first word of a node: the parent, which is below [`PARENT_LIMIT`], and the check byte of it and the frame.
#[inline(always)]
pub fn sealed(parent: u32, frame: u64) -> u32 {
    let sealed = check::seal(u64::from(parent), frame);
    parent | ((sealed >> check::VALUE_BITS) as u32) << PARENT_LIMIT.ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda_memory::CudaKind;

    #[test]
    fn a_node_survives_the_wire() {
        for frame in [
            Frame::Native { mapping: MappingId(MappingId::LIMIT - 1), offset: OFFSET_MASK },
            Frame::Raw { address: 0xFFFF_FFFF_FFFF },
            Frame::Python { code: CodeId(u32::MAX), instruction: (1 << 24) - 1 },
            Frame::Scheduled,
            Frame::Op(OpId(u32::MAX)),
            Frame::For(Domain::TensorFlow),
            Frame::Pool(Domain::CudaHost),
            Frame::Cuda(CudaMemory {
                kind: CudaKind::Registered,
                device: Some(u16::MAX - 1),
                context: (1 << 24) - 1,
            }),
            Frame::Cuda(CudaMemory { kind: CudaKind::Device, device: None, context: 0 }),
            Frame::Truncated,
            Frame::Unknown,
        ] {
            let node = Node { parent: StackId::new(PARENT_LIMIT - 1), frame };
            let words = node.to_wire().unwrap();
            assert_eq!(Node::from_wire(words), Some(node));
            assert_ne!(words[2], 0, "it is there once this is not 0");
            for bit in 0..96 {
                let mut damaged = words;
                damaged[bit / 32] ^= 1 << (bit % 32);
                assert_eq!(Node::from_wire(damaged), None, "bit {bit} changed");
            }
        }
        assert_eq!(Node::from_wire([0; 3]), None, "an empty slot is no node");
        let parent = StackId::new(PARENT_LIMIT);
        assert_eq!(Node { parent, frame: Frame::Unknown }.to_wire(), None);
    }

    #[cfg(feature = "reader")]
    #[test]
    fn a_node_of_an_earlier_version_is_read() {
        let node = Node { parent: StackId::new(u32::MAX), frame: Frame::Op(OpId(7)) };
        let frame = node.frame.to_wire();
        let words = [check::seal(u64::from(u32::MAX), frame), frame];
        assert_eq!(Node::from_wide(words), Some(node));
        assert_eq!(Node::from_wide([words[0], frame ^ 1]), None);
        assert_eq!(Node::from_wide([0, 0]), None, "an empty slot is no node");
    }
}
