//! How much of each device was taken from the driver, and how much of that in use, over time.

use std::collections::BTreeMap;

use tftrace_format::reader::Trace;
use tftrace_format::{CudaKind, Domain, Event, StackId, Ticks};

use super::{is_pool, memory_of};
use crate::heap::Change;
use crate::model::{Device, HostMemory};

/// Bytes of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) taken: u64,
    pub(super) used: u64,
}

/// The levels at a moment, and their history.
pub(super) struct Levels<'t, 'a> {
    trace: &'t Trace<'a>,
    window_ends: &'t [f64],
    now: BTreeMap<Option<u16>, Level>,
    devices: BTreeMap<Option<u16>, Device>,
    host: BTreeMap<CudaKind, (u64, u64)>,
    window: usize,
}

impl<'t, 'a> Levels<'t, 'a> {
    pub(super) fn new(trace: &'t Trace<'a>, window_ends: &'t [f64]) -> Self {
        let (now, devices, host) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { trace, window_ends, now, devices, host, window: 0 }
    }

    /// What a device has now.
    pub(super) fn of(&self, device: Option<u16>) -> Level {
        self.now.get(&device).copied().unwrap_or_default()
    }

    pub(super) fn apply(&mut self, event: &Event, change: Change) {
        match (*event, change) {
            (Event::Allocated { time, domain, stack, .. }, Change::Allocated(_, level)) => {
                self.change(time, domain, stack, level.bytes as i64);
            }
            (Event::Freed { time, domain, .. }, Change::Freed(_, block, level)) => {
                self.change(time, domain, block.stack, -(level.bytes as i64));
            }
            _ => {}
        }
    }

    fn change(&mut self, time: Ticks, domain: Domain, stack: Option<StackId>, bytes: i64) {
        if !matches!(domain, Domain::Cuda | Domain::CudaHost | Domain::TensorFlow) {
            return;
        }
        let Some(memory) = memory_of(self.trace, stack) else { return };
        let seconds = self.trace.seconds(time);
        while self.window_ends.get(self.window).is_some_and(|end| *end < seconds) {
            self.end_window();
        }
        // What stands in a pool was not taken from the driver, and the pool is not in use.
        let (is_taken, is_used) = (domain != Domain::TensorFlow, !is_pool(self.trace, stack));
        if memory.kind != CudaKind::Device {
            if is_taken {
                let (now, peak) = self.host.entry(memory.kind).or_default();
                *now = now.saturating_add_signed(bytes);
                *peak = (*peak).max(*now);
            }
            return;
        }
        let level = self.now.entry(memory.device).or_default();
        if is_taken {
            level.taken = level.taken.saturating_add_signed(bytes);
        }
        if is_used {
            level.used = level.used.saturating_add_signed(bytes);
        }
        let device = self.devices.entry(memory.device).or_default();
        device.peak_taken = device.peak_taken.max(level.taken);
        device.peak_used = device.peak_used.max(level.used);
    }

    fn end_window(&mut self) {
        for (number, device) in &mut self.devices {
            let level = self.now.get(number).copied().unwrap_or_default();
            // A device that was first used later had nothing before.
            device.taken.resize(self.window, 0);
            device.used.resize(self.window, 0);
            device.taken.push(level.taken);
            device.used.push(level.used);
        }
        self.window += 1;
    }

    pub(super) fn end(mut self) -> (Vec<Device>, Vec<HostMemory>) {
        while self.window < self.window_ends.len() {
            self.end_window();
        }
        let devices = self.devices.into_iter().map(|(number, device)| Device { number, ..device });
        let host = self.host.into_iter();
        let host = host.map(|(kind, (bytes, peak))| HostMemory { kind: kind.name(), bytes, peak });
        (devices.collect(), host.collect())
    }
}
