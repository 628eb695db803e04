//! The thread that rewrites full pages as compressed chunks and gives the pages back.

use crossbeam_channel::Receiver;
use tftrace_format::Ticks;
use tftrace_format::chunk::ChunkKind;
use tftrace_format::page::{PAGE_BYTES, PAGE_HEADER_BYTES, PageHeader, PageKind, u64_at};
use tftrace_format::page_codec::{
    PAYLOAD_LIMIT, PLAIN_LIMIT, PageThread, compress, raw_events, write_events, write_totals,
};
use tftrace_format::totals::{TOTALS_BYTES, Temporaries};

use crate::process::Process;
use crate::spool::PageIndex;

/// Runs until the collector is gone, which is never.
pub(super) fn run(process: &'static Process, pages: &Receiver<PageIndex>) {
    let mut plain = vec![0; PLAIN_LIMIT];
    let mut packed = vec![0; PAYLOAD_LIMIT];
    for page in pages {
        if rewrite(process, page, &mut plain, &mut packed).is_some() {
            // SAFETY: the page was handed over, and its entries stand in a chunk now.
            unsafe { process.spool.give_back(page) };
        }
        // What cannot be rewritten stays as it is: it is a part of the trace already.
    }
}

fn rewrite(process: &Process, page: PageIndex, plain: &mut [u8], packed: &mut [u8]) -> Option<()> {
    // SAFETY: the page was handed over, so nobody writes to it, and it stays mapped.
    let bytes = unsafe { core::slice::from_raw_parts(process.spool.page(page), PAGE_BYTES) };
    let header = PageHeader::from_wire(bytes).ok()?;
    let body = bytes.get(PAGE_HEADER_BYTES..)?;
    let thread = PageThread { number: header.number, tid: header.tid };
    let (kind, len) = match header.kind {
        PageKind::Events => {
            let mut events: Vec<_> = raw_events(body).flatten().collect();
            events.sort_by_key(tftrace_format::Event::order);
            (ChunkKind::Events, write_events(thread, events.into_iter(), plain)?)
        }
        PageKind::Totals => {
            let entries = body.chunks_exact(TOTALS_BYTES);
            let entries = entries.map(|entry| [u64_at(entry, 0), u64_at(entry, 8)]);
            let entries = entries.filter(|words| words[1] != 0).filter_map(Temporaries::from_wire);
            (ChunkKind::Totals, write_totals(thread, entries, plain)?)
        }
        PageKind::Nodes | PageKind::Chunks => return None,
    };
    let plain = plain.get(..len)?;
    let (codec, packed_len) = compress(plain, packed)?;
    let payload = packed.get(..packed_len)?;
    let now = Ticks(process.clock.now().0);
    let done = process.log.append(&process.spool, now, kind, (codec, payload), len, header.serial);
    done.then_some(())
}
