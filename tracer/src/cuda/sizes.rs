//! How many bytes a call of CUDA's is about: arguments, and structures that arguments point to.

use super::functions::Size;
use crate::arch::AnyCall;

/// Reads a value that an argument points to.
///
/// # Safety
/// CUDA has read or written such a value there, and not complained.
pub(super) unsafe fn value_at<T: Copy>(argument: u64) -> T {
    // SAFETY: our caller promises it.
    unsafe { (argument as *const T).read_unaligned() }
}

impl Size {
    /// The bytes that were asked for, or got.
    ///
    /// # Safety
    /// What the arguments of the call point to has been read by CUDA, and written if it `succeeded`.
    pub(super) unsafe fn bytes(self, call: &AnyCall, succeeded: bool) -> u64 {
        let [first, second, third, fourth, ..] = call.arguments;
        let product =
            |parts: &[u64]| parts.iter().fold(1u64, |all, part| all.saturating_mul(*part));
        // A dimension of an array that it does not have is 0.
        let volume = |parts: [u64; 3]| product(&parts.map(|part| part.max(1)));
        match self {
            Size::Given => second,
            Size::Rows => {
                // SAFETY: our caller promises it.
                let row = if succeeded { unsafe { value_at::<u64>(second) } } else { third };
                product(&[row, fourth])
            }
            Size::Volume => {
                // SAFETY: it has arguments on the stack.
                let [width, height, depth, _] = unsafe { call.on_stack() }.words();
                // `cudaPitchedPtr`: address, bytes of a row.
                let place = first.wrapping_add(8);
                // SAFETY: our caller promises it.
                let row = if succeeded { unsafe { value_at::<u64>(place) } } else { width };
                product(&[row, height, depth])
            }
            Size::Array => {
                // SAFETY: our caller promises it.
                product(&[unsafe { channels_at(second) }, volume([third, fourth, 1])])
            }
            Size::Array3D => {
                // SAFETY: it has arguments on the stack.
                let [width, height, depth, _] = unsafe { call.on_stack() }.words();
                // SAFETY: our caller promises it.
                product(&[unsafe { channels_at(second) }, volume([width, height, depth])])
            }
            Size::Described => {
                // Width, height; format and channels.
                // SAFETY: our caller promises it.
                let [width, height, kind] = unsafe { value_at::<[u64; 3]>(second) };
                product(&[element_bytes(kind), volume([width, height, 1])])
            }
            Size::Described3D => {
                // SAFETY: our caller promises it.
                let [width, height, depth, kind] = unsafe { value_at::<[u64; 4]>(second) };
                product(&[element_bytes(kind), volume([width, height, depth])])
            }
        }
    }
}

/// The bytes of an element, by a `cudaChannelFormatDesc`: the bits of four channels.
///
/// # Safety
/// There is one at this address.
unsafe fn channels_at(address: u64) -> u64 {
    // SAFETY: our caller promises it.
    let bits = unsafe { value_at::<[u32; 4]>(address) };
    bits.iter().fold(0u64, |sum, bits| sum.saturating_add(u64::from(*bits))) / 8
}

/// The bytes of an element, by a `CUarray_format` in the lower half of a word and channels above.
fn element_bytes(word: u64) -> u64 {
    let format = match word & 0xFFFF_FFFF {
        0x01 | 0x08 => 1,
        0x02 | 0x09 | 0x10 => 2,
        0x03 | 0x0A | 0x20 => 4,
        // Formats for video and compressed textures: at least a byte.
        _ => 1,
    };
    format * (word >> 32).max(1)
}
