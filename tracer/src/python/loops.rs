//! Finds the native frames that run Python frames where the interpreter keeps nothing of them on
//! the C stack: in 3.9.
//!
//! Each Python frame has a native frame of the evaluation loop then, so they are paired from the
//! leaf on. A compiler may have put rare parts of the loop elsewhere: while one of them calls, the
//! Python frames outside it stand one native frame too far inside.

use core::ops::Range;

use crate::thread::lane::Lane;

/// Beyond every stack: such a frame stands at the root.
const AT_THE_ROOT: u64 = u64::MAX;

/// Pairs the kept Python frames of a lane with its kept native frames in `code`, which is the
/// evaluation loop's.
pub(super) fn pair(lane: &mut Lane, code: &Range<u64>) {
    let mut python = lane.python.len();
    let mut native = lane.kept.len();
    while python > 0 {
        python -= 1;
        let address = loop {
            let Some(next) = native.checked_sub(1) else { break AT_THE_ROOT };
            native = next;
            match lane.kept.get(native) {
                // The word above the return address into a function is that function's own.
                Some(frame) if code.contains(&frame.address) => break frame.slot.wrapping_add(8),
                _ => {}
            }
        };
        lane.python.set_native(python, address);
    }
}
