//! In which context and on which device memory is: the driver says so, and the tracer numbers contexts.
//!
//! A context's address may be used again; its number is not.

use core::ffi::{CStr, c_int};
use core::mem::transmute;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::behind;
use super::dynamic_symbols::{ask, object_of, with_handle};
use crate::thread::guard;

/// A context, as memory's frames name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Context {
    /// 0: none is known.
    pub(super) number: u32,
    pub(super) device: Option<u16>,
}

/// A context that lives.
struct Place {
    /// The driver's own name for it; 0 = free, 1 = being written.
    handle: AtomicU64,
    number: AtomicU32,
    /// The device's number plus one; 0 = unknown.
    device: AtomicU32,
    /// Whether the program created it; else it is its device's primary one.
    is_created: AtomicBool,
}

const FREE: u64 = 0;
const BUSY: u64 = 1;
const MOST: usize = 256;
static PLACES: [Place; MOST] = [const {
    Place {
        handle: AtomicU64::new(FREE),
        number: AtomicU32::new(0),
        device: AtomicU32::new(0),
        is_created: AtomicBool::new(false),
    }
}; MOST];
static NEXT_NUMBER: AtomicU32 = AtomicU32::new(1);

impl Place {
    fn context(&self) -> Context {
        let device = self.device.load(Ordering::Relaxed).checked_sub(1);
        Context {
            number: self.number.load(Ordering::Relaxed),
            device: device.and_then(|device| u16::try_from(device).ok()),
        }
    }
}

/// The context that is current for the calling thread, by the driver near this function.
pub(super) fn current(near: u64) -> Context {
    let handle = current_handle(near);
    if handle == 0 { Context::default() } else { of(handle, near, false) }
}

/// The driver's name for the context that is current; 0: none is.
pub(super) fn current_handle(near: u64) -> u64 {
    let Some(get) = DRIVER.get(near, &DRIVER.current) else { return 0 };
    // SAFETY: the driver's function of this name.
    let get = unsafe { transmute::<u64, unsafe extern "C" fn(*mut u64) -> c_int>(get) };
    let mut handle = 0;
    // SAFETY: it writes a pointer to the place.
    let error = unsafe { get(&raw mut handle) };
    if error == 0 { handle } else { 0 }
}

/// The program has created this context, which is current.
pub(super) fn created(handle: u64, near: u64) {
    if handle > BUSY {
        of(handle, near, true);
    }
}

/// A context that is current, numbered at its first sight.
fn of(handle: u64, near: u64, is_created: bool) -> Context {
    // Acquire: who sees the handle sees the rest.
    let known = PLACES.iter().find(|place| place.handle.load(Ordering::Acquire) == handle);
    if let Some(place) = known {
        return place.context();
    }
    let device = device(near);
    let free = PLACES.iter().find(|place| {
        let claimed =
            place.handle.compare_exchange(FREE, BUSY, Ordering::AcqRel, Ordering::Relaxed);
        claimed.is_ok()
    });
    let Some(place) = free else { return Context { number: 0, device } };
    place.number.store(NEXT_NUMBER.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed); // Unique is enough.
    place
        .device
        .store(device.map_or(0, |device| u32::from(device).wrapping_add(1)), Ordering::Relaxed);
    place.is_created.store(is_created, Ordering::Relaxed);
    // Release: see above. Two threads at once may number it twice: both end together.
    place.handle.store(handle, Ordering::Release);
    place.context()
}

fn device(near: u64) -> Option<u16> {
    let get = DRIVER.get(near, &DRIVER.device)?;
    // SAFETY: the driver's function of this name.
    let get = unsafe { transmute::<u64, unsafe extern "C" fn(*mut c_int) -> c_int>(get) };
    let mut device = 0;
    // SAFETY: it writes a number to the place.
    let error = unsafe { get(&raw mut device) };
    (error == 0).then(|| u16::try_from(device).ok()).flatten()
}

/// Whether a device's primary context lives; `None`: the driver does not say.
pub(super) fn primary_is_active(near: u64, device: u64) -> Option<bool> {
    type GetState = unsafe extern "C" fn(c_int, *mut u32, *mut c_int) -> c_int;
    let get = DRIVER.get(near, &DRIVER.primary_state)?;
    // SAFETY: the driver's function of this name.
    let get = unsafe { transmute::<u64, GetState>(get) };
    let (mut flags, mut active) = (0, 0);
    // SAFETY: it writes numbers to the places.
    let error = unsafe { get(device as c_int, &raw mut flags, &raw mut active) };
    (error == 0).then_some(active != 0)
}

/// Which contexts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which {
    /// The one that the driver calls this.
    Handle(u64),
    /// The primary one of a device.
    Primary(u64),
}

/// Contexts that are about to end: out of the table, so that a new one at the same address is new.
pub(super) struct Ending([(u64, usize); MOST_ENDING], usize);

const MOST_ENDING: usize = 8;

impl Ending {
    /// Takes them out.
    pub(super) fn of(which: Which) -> Self {
        let mut ending = Self([(0, 0); MOST_ENDING], 0);
        for (index, place) in PLACES.iter().enumerate() {
            let handle = place.handle.load(Ordering::Acquire);
            let is_it = match which {
                Which::Handle(wanted) => handle == wanted,
                Which::Primary(device) => {
                    !place.is_created.load(Ordering::Relaxed)
                        && u64::from(place.device.load(Ordering::Relaxed)) == device.wrapping_add(1)
                }
            };
            if handle <= BUSY || !is_it {
                continue;
            }
            let Some(room) = ending.0.get_mut(ending.1) else { break };
            let taken =
                place.handle.compare_exchange(handle, BUSY, Ordering::AcqRel, Ordering::Relaxed);
            if taken.is_ok() {
                *room = (handle, index);
                ending.1 = ending.1.saturating_add(1);
            }
        }
        ending
    }

    /// Their numbers.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.places().map(|(_, place)| place.number.load(Ordering::Relaxed))
    }

    /// They are gone, or not.
    pub(super) fn over(self, are_gone: bool) {
        for (handle, place) in self.places() {
            // Release: who takes the place, or finds the context again, sees the rest.
            place.handle.store(if are_gone { FREE } else { handle }, Ordering::Release);
        }
    }

    fn places(&self) -> impl Iterator<Item = (u64, &'static Place)> {
        let taken = self.0.iter().take(self.1);
        taken.filter_map(|(handle, index)| Some((*handle, PLACES.get(*index)?)))
    }
}

/// Functions of the driver that the tracer calls itself.
struct Driver {
    current: Own,
    device: Own,
    primary_state: Own,
    /// How often they were looked for in vain.
    vain: AtomicU32,
}

struct Own {
    name: &'static CStr,
    address: AtomicU64,
    /// The object that it is in.
    link_map: AtomicU64,
}

impl Own {
    const fn new(name: &'static CStr) -> Self {
        Self { name, address: AtomicU64::new(0), link_map: AtomicU64::new(0) }
    }
}

/// A process whose driver cannot be found is not asked for it for ever.
const MOST_VAIN: u32 = 64;

static DRIVER: Driver = Driver {
    current: Own::new(c"cuCtxGetCurrent"),
    device: Own::new(c"cuCtxGetDevice"),
    primary_state: Own::new(c"cuDevicePrimaryCtxGetState"),
    vain: AtomicU32::new(0),
};

impl Driver {
    /// A function's address, while the driver is loaded: in the object of a function of the driver's
    /// that is being called, or in the driver itself.
    fn get(&self, near: u64, own: &Own) -> Option<u64> {
        // Acquire: pairs with the release below.
        let known = own.address.load(Ordering::Acquire);
        let holds = |address: u64| {
            object_of(address).is_some_and(|at| at.link_map == own.link_map.load(Ordering::Relaxed))
        };
        if known != 0 && holds(known) {
            return Some(known);
        }
        if self.vain.load(Ordering::Relaxed) >= MOST_VAIN {
            return None;
        }
        let found = guard::as_own_thread(|| {
            let beside = object_of(near).map_or(0, |object| {
                with_handle(&object, |handle| {
                    // SAFETY: just opened.
                    unsafe { ask(handle, own.name) }
                })
            });
            if beside != 0 { beside } else { behind::in_library(c"libcuda.so.1", own.name) }
        });
        if found == 0 {
            self.vain.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let link_map = object_of(found).map_or(0, |object| object.link_map);
        own.link_map.store(link_map, Ordering::Relaxed);
        // Release: who sees the address sees whose it is.
        own.address.store(found, Ordering::Release);
        Some(found)
    }
}
