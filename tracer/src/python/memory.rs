//! Reads the interpreter's structures, one word at a time.

/// The word at an address of the interpreter's; `None` where none can be.
///
/// # Safety
/// If the address is one that a program can have, it is of a structure that the interpreter keeps
/// alive while the calling thread runs: one of this thread's frames, or what such a frame refers to.
#[inline(always)]
pub(super) unsafe fn word(address: u64) -> Option<u64> {
    if !is_plausible(address) {
        return None;
    }
    // SAFETY: our caller promises it.
    Some(unsafe { (address as *const u64).read() })
}

/// As [`word`], for one byte.
///
/// # Safety
/// As for [`word`].
#[inline(always)]
pub(super) unsafe fn byte(address: u64) -> Option<u8> {
    if !is_plausible(address & !7) {
        return None;
    }
    // SAFETY: our caller promises it.
    Some(unsafe { (address as *const u8).read() })
}

/// Bytes of an object of the interpreter's.
///
/// # Safety
/// As for [`word`], for `len` bytes, for as long as the result is used.
pub(super) unsafe fn bytes<'a>(address: u64, len: u64) -> Option<&'a [u8]> {
    const MOST: u64 = 1 << 30;
    if !is_plausible(address & !7) || len > MOST {
        return None;
    }
    // SAFETY: our caller promises it.
    Some(unsafe { core::slice::from_raw_parts(address as *const u8, len as usize) })
}

#[inline(always)]
fn is_plausible(address: u64) -> bool {
    (4096..1 << 47).contains(&address) && address.is_multiple_of(8)
}
