//! Traces of services made by hand, whose truth is known.

use tftrace_format::builder::{Packing, TraceBuilder};
use tftrace_format::header::Header;
use tftrace_format::record::{Code, LineTable, MemoryReading, Record};
use tftrace_format::totals::{Temporaries, TemporaryKey};
use tftrace_format::{CodeId, Domain, Event, Frame, LabelId, StackId, Ticks};

/// Nanoseconds, and so ticks, from one request to the next.
const REQUEST: u64 = 10_000_000;
pub(crate) const REQUESTS: u64 = 2_000;
/// What a leaking service keeps of each request.
pub(crate) const LEAKED: u64 = 1_000;

/// A service that answers requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Service {
    pub(crate) pid: u32,
    pub(crate) parent_pid: u32,
    /// Bytes kept of each request.
    pub(crate) leaks: u64,
    pub(crate) requests: u64,
    /// Whether it says when a request is done.
    pub(crate) marks: bool,
    /// From how many places each request allocates what it frees again.
    pub(crate) places: u64,
    /// Whether that is only counted, and every eighth time an event says when; the second half of the requests takes three
    /// times as long as the first then.
    pub(crate) folds: bool,
    /// So many requests find nothing in a cache, fewer and fewer of them: they allocate from ten times as many places, and
    /// keep 10 kB each.
    pub(crate) misses: u64,
    /// So many seconds go by before the first request, and after the last one.
    pub(crate) idle: u64,
    pub(crate) idle_after: u64,
    pub(crate) file: &'static str,
    pub(crate) function: &'static str,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            pid: 4,
            parent_pid: 3,
            leaks: LEAKED,
            requests: REQUESTS,
            marks: true,
            places: 1,
            folds: false,
            misses: 0,
            idle: 0,
            idle_after: 0,
            file: "/app/serve.py",
            function: "handle",
        }
    }
}

impl Service {
    /// Its trace.
    pub(crate) fn trace(self) -> Vec<u8> {
        let mut builder = TraceBuilder::new();
        let template = builder.build(Packing::Raw);
        let header = Header::from_wire(&template).unwrap();
        builder.header(Header {
            pid: self.pid,
            parent_pid: self.parent_pid,
            command_line: b"python\0serve.py\0",
            executable: b"/usr/bin/python3",
            ..header
        });
        builder.record(&Record::Code(Code {
            id: CodeId(1),
            first_line: 42,
            name: self.function.as_bytes(),
            file: self.file.as_bytes(),
            line_table: LineTable::Lnotab,
            lines: b"",
        }));
        let python = Frame::Python { code: CodeId(1), instruction: 0 };
        let native = |address| Frame::Raw { address };
        let kept = builder.stack(&[python, native(0x10)]);
        let churned: Vec<StackId> =
            (0..self.places).map(|place| builder.stack(&[python, native(0x20 + place)])).collect();
        let missed: Vec<StackId> = (0..10 * self.places)
            .map(|place| builder.stack(&[python, native(0x1000 + place)]))
            .collect();
        let label = builder.label("request");
        let partly = builder.stack(&[python, native(0x18)]);
        let mut writer = Writer { builder, label, partly, service: self };
        for request in 0..self.requests {
            if self.is_miss(request) {
                writer.miss(request, &missed);
            }
            writer.request(request, kept, &churned);
        }
        if self.idle_after > 0 {
            writer.goes_on(&churned);
        }
        for part in 1..=8 {
            writer.builder.reading(MemoryReading {
                time: self.begins() + (self.requests * REQUEST * part / 8).saturating_sub(REQUEST),
                rss_anonymous: 50_000_000 + self.leaks * self.requests * part / 8,
                rss_file: 1_000_000,
                malloc_in_use: self.leaks * self.requests * part / 8 + 1000,
                malloc_known: true,
                cgroup_limit: 1_000_000_000,
                cgroup_current: 500_000_000,
                ..MemoryReading::default()
            });
        }
        writer.builder.build(Packing::Chunked)
    }

    /// When its first request comes, in ticks.
    fn begins(self) -> u64 {
        self.idle * 1_000_000_000
    }

    fn is_miss(self, request: u64) -> bool {
        let at = |miss: u64| (miss as f64 / self.misses as f64).powi(3) * self.requests as f64;
        (0..self.misses).any(|miss| at(miss) as u64 == request)
    }
}

struct Writer {
    builder: TraceBuilder,
    label: LabelId,
    /// Who allocates more than once for each request.
    partly: StackId,
    service: Service,
}

impl Writer {
    fn miss(&mut self, request: u64, places: &[StackId]) {
        let domain = Domain::Malloc;
        for (at, stack) in (0..).zip(places) {
            let size = if at == 0 { 10_000 } else { 100 };
            let (stack, file_backed) = (Some(*stack), false);
            let address = 0x4000_0000_0000 + (request * 0x1000 + at) * 0x1_0000;
            let time = Ticks(self.service.begins() + request * REQUEST);
            let event = Event::Allocated { time, domain, address, size, stack, file_backed };
            self.builder.event(0, event);
            if at > 0 {
                self.builder.event(0, Event::Freed { time: Ticks(time.0 + 1), domain, address });
            }
        }
    }

    /// Something happens, long after the last request.
    fn goes_on(&mut self, places: &[StackId]) {
        let service = self.service;
        let after = (service.requests * REQUEST).saturating_add(service.idle_after * 1_000_000_000);
        let (time, domain) = (Ticks(service.begins() + after), Domain::Malloc);
        let (address, size, stack) = (0x8000_0000_0000, 100, places.first().copied());
        let event = Event::Allocated { time, domain, address, size, stack, file_backed: false };
        self.builder.event(0, event);
        self.builder.event(0, Event::Freed { time: Ticks(time.0 + 1), domain, address });
    }

    /// Of a call stack that allocates dozens of blocks for each request as many were recorded as there are requests, all
    /// of them early: a number that says nothing. Only where other blocks say when requests were.
    fn partly_recorded(&mut self, request: u64, time: Ticks) {
        const RECORDED: u64 = 10;
        let (stack, domain, file_backed) = (Some(self.partly), Domain::Malloc, false);
        if self.service.leaks == 0 {
            return;
        }
        let key = TemporaryKey { stack, size: 100, domain };
        let count = 67;
        self.builder.temporaries(0, Temporaries { key, count });
        self.builder.event(0, Event::Folded { time, domain, size: 100, stack, count });
        let is_early = request < self.service.requests / RECORDED;
        for at in 0..if is_early { RECORDED } else { 0 } {
            let (time, address, size) =
                (Ticks(time.0 + 2 * at), 0x9000_0000_0000 + at * 0x1000, 50);
            let event = Event::Allocated { time, domain, address, size, stack, file_backed };
            self.builder.event(0, event);
            self.builder.event(0, Event::Freed { time: Ticks(time.0 + 1), domain, address });
        }
    }

    fn request(&mut self, request: u64, kept: StackId, churned: &[StackId]) {
        let slow =
            if self.service.folds { request.saturating_sub(self.service.requests / 2) } else { 0 };
        let begins = self.service.begins();
        let time = |part: u64| Ticks(begins + (request + 2 * slow) * REQUEST + part * REQUEST / 10);
        let domain = Domain::Malloc;
        if self.service.folds {
            // What is kept is made beside something that is only counted, by the same call.
            let key = TemporaryKey { stack: Some(kept), size: 100, domain };
            let count = u64::from(self.service.leaks > 0);
            self.builder.temporaries(0, Temporaries { key, count });
            self.partly_recorded(request, time(1));
            for (at, stack) in (0..).zip(churned) {
                let key = TemporaryKey { stack: Some(*stack), size: 100, domain };
                self.builder.temporaries(0, Temporaries { key, count: 1 });
                if (request + at).is_multiple_of(8) {
                    // What is kept says when requests were, and this is not asked then.
                    let wrong = u64::from(self.service.leaks > 0);
                    let (time, stack) = (Ticks(time(1).0 * (8 - wrong) / 8), Some(*stack));
                    let event = Event::Folded { time, domain, size: 100, stack, count: 8 };
                    self.builder.event(0, event);
                }
            }
        }
        let mut allocate = |part, address, size, stack| {
            let (time, stack) = (time(part), Some(stack));
            let event = Event::Allocated { time, domain, address, size, stack, file_backed: false };
            self.builder.event(0, event);
        };
        let recorded = if self.service.folds { &[] } else { churned };
        for (at, stack) in recorded.iter().enumerate() {
            allocate(1, 0x10_0000 + at as u64 * 0x1_0000, 10_000 / self.service.places, *stack);
        }
        if self.service.leaks > 0 {
            allocate(2, 0x100_0000 + request * 0x1_0000, self.service.leaks, kept);
        }
        for at in 0..recorded.len() as u64 {
            let address = 0x10_0000 + at * 0x1_0000;
            self.builder.event(0, Event::Freed { time: time(3), domain, address });
        }
        if self.service.marks {
            self.builder.event(0, Event::Marked { time: time(4), label: self.label });
        }
    }
}
