//! What the op that this thread runs says of the memory it asks for: TensorFlow's own annotation.
//!
//! It refers to strings of the op, which lives as long as the op runs: read it inside a call that
//! allocates a tensor, and nowhere else.

use core::mem::transmute;

use super::framework;

/// The longest name of an op that is kept, and of what the memory is of it, in bytes.
const MOST_NAME: usize = 512;
const MOST_REGION: usize = 64;

/// What the memory is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Annotation {
    name: (*const u8, usize),
    region: (*const u8, usize),
    /// TensorFlow's number of the element type.
    pub(crate) data_type: u32,
}

impl Annotation {
    /// The annotation of the calling thread; `None` if no op runs on it.
    ///
    /// Not inside the tracer: the first call of a thread makes TensorFlow's thread-local value.
    #[inline(always)]
    pub(crate) fn of_this_thread() -> Option<Self> {
        let (function, holds_views) = framework::thread_annotation()?;
        // SAFETY: the C++ function of this name, which takes nothing and gives a pointer.
        let place = unsafe { transmute::<u64, unsafe extern "C" fn() -> *const u64>(function) };
        // SAFETY: TensorFlow is loaded: its code called us.
        let place = unsafe { place() };
        if place.is_null() {
            return None;
        }
        // SAFETY: a value of at least six words, in both of its layouts.
        let word = |index: usize| unsafe { place.wrapping_add(index).read() };
        let found = if holds_views {
            let view = |index| (word(index + 1) as *const u8, word(index) as usize);
            let (name, region) = (view(0), view(3));
            Self { name, region, data_type: word(5) as u32 }
        } else {
            let text = |index| (word(index) as *const u8, usize::MAX);
            Self { name: text(0), region: text(2), data_type: word(3) as u32 }
        };
        let (name, len) = found.name;
        (!name.is_null() && len != 0).then_some(found)
    }

    /// The op's name.
    pub(crate) fn name(&self) -> &[u8] {
        // SAFETY: the running op's string.
        unsafe { text(self.name, MOST_NAME) }
    }

    /// What the memory is of it: `output`, `temp`, …
    pub(crate) fn region(&self) -> &[u8] {
        // SAFETY: as above.
        unsafe { text(self.region, MOST_REGION) }
    }
}

/// The text at an address, of this length or up to its zero byte, cut off after `most` bytes.
///
/// # Safety
/// The text lives as long as the result is used.
unsafe fn text<'a>((start, len): (*const u8, usize), most: usize) -> &'a [u8] {
    if start.is_null() {
        return &[];
    }
    let len = if len == usize::MAX {
        // SAFETY: a C string, whose zero byte is the last that is read.
        (0..most).find(|&at| unsafe { start.wrapping_add(at).read() } == 0).unwrap_or(most)
    } else {
        len.min(most)
    };
    // SAFETY: our caller promises it.
    unsafe { core::slice::from_raw_parts(start, len) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_ends_at_its_length_its_zero_byte_or_the_limit() {
        let name = b"dense/MatMul\0rest";
        let of = |len, most| {
            // SAFETY: a constant.
            unsafe { text((name.as_ptr(), len), most) }
        };
        assert_eq!(of(5, 100), b"dense");
        assert_eq!(of(usize::MAX, 100), b"dense/MatMul");
        assert_eq!(of(usize::MAX, 3), b"den");
        assert_eq!(of(12, 3), b"den");
        // SAFETY: nothing is read.
        assert_eq!(unsafe { text((core::ptr::null(), 9), 9) }, b"");
    }
}
