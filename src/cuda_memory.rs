//! What kind of memory CUDA gave out, and where: what a frame of the stack tree says of it.

use crate::event::Domain;

/// Memory that CUDA's functions gave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CudaMemory {
    /// Where it is, and who may use it.
    pub kind: CudaKind,
    /// The device, as CUDA numbers them in this process; `None` if it is not known.
    pub device: Option<u16>,
    /// The tracer's number of the context it ends with; 0: it ends with none. Below 2^24.
    pub context: u32,
}

/// A kind of memory that CUDA gives out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum CudaKind {
    /// On the device.
    Device = 0,
    /// Moves between the device and the host, as either uses it.
    Managed = 1,
    /// Host memory that CUDA allocated so that it stays where it is.
    Pinned = 2,
    /// Host memory from elsewhere that CUDA was told to keep where it is.
    Registered = 3,
}

const DEVICE_SHIFT: u32 = 4;
const CONTEXT_SHIFT: u32 = 20;
const CONTEXT_MASK: u64 = (1 << 24) - 1;

impl CudaKind {
    /// Whose memory it counts as.
    pub fn domain(self) -> Domain {
        match self {
            CudaKind::Device => Domain::Cuda,
            CudaKind::Managed | CudaKind::Pinned | CudaKind::Registered => Domain::CudaHost,
        }
    }

    /// The name that reports use.
    pub fn name(self) -> &'static str {
        match self {
            CudaKind::Device => "device",
            CudaKind::Managed => "managed",
            CudaKind::Pinned => "pinned",
            CudaKind::Registered => "registered",
        }
    }
}

impl CudaMemory {
    /// The lower 44 bits of the frame's word.
    #[inline(always)]
    pub(crate) fn to_wire(self) -> u64 {
        let device = self.device.map_or(0, |device| u64::from(device).wrapping_add(1));
        let context = (u64::from(self.context) & CONTEXT_MASK) << CONTEXT_SHIFT;
        self.kind as u64 | ((device & 0xFFFF) << DEVICE_SHIFT) | context
    }

    /// What these bits say; `None` for a kind this version does not know.
    pub(crate) fn from_wire(word: u64) -> Option<Self> {
        let kind = match word & 0xF {
            0 => CudaKind::Device,
            1 => CudaKind::Managed,
            2 => CudaKind::Pinned,
            3 => CudaKind::Registered,
            _ => return None,
        };
        let device = (word >> DEVICE_SHIFT) & 0xFFFF;
        let device = device.checked_sub(1).and_then(|device| u16::try_from(device).ok());
        Some(Self { kind, device, context: ((word >> CONTEXT_SHIFT) & CONTEXT_MASK) as u32 })
    }
}
