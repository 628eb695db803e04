//! The nodes of a trace: raw pages of them, and chunks.

use super::super::damage::DamageKind;
use super::super::runs::Part;
use super::{Scan, page_body, plain_chunk};
use crate::node::{NODE_BYTES, Node, PARENT_LIMIT, WIDE_NODE_BYTES};
use crate::node_codec::NodesReader;
use crate::page::{NODES_PER_PAGE, PAGE_BYTES, PageHeader, PageKind, u32_at, u64_at};

impl Scan<'_> {
    /// Reads the pages of nodes, before their chunks: a page is emptied after its chunk is written. Gives whether
    /// one was emptied since its header was read.
    pub(super) fn node_pages(&mut self, parts: &[Part]) -> bool {
        let mut is_emptied = false;
        for part in parts {
            if let Part::Nodes(header, at) = part {
                let damaged = self.nodes(header, *at);
                let page = self.trace.bytes.get(*at..).unwrap_or_default();
                if PageHeader::from_wire(page).as_ref() != Ok(header) {
                    is_emptied = true;
                } else if damaged > 0 {
                    self.damaged_nodes.push((header.serial, *at, damaged));
                }
            }
        }
        is_emptied
    }

    /// So many nodes a file of this length can have at most.
    pub(super) fn most_nodes(&self) -> usize {
        /// In a chunk a node takes nine bytes at least, and LZ4 makes one of 255.
        const PER_BYTE: usize = 32;
        let bytes = self.trace.bytes.len();
        let in_pages = (bytes / PAGE_BYTES + 1).saturating_mul(NODES_PER_PAGE);
        let in_chunks = bytes.saturating_mul(PER_BYTE).min(PARENT_LIMIT as usize);
        in_pages.max(in_chunks)
    }

    /// Reads a page of nodes. Gives how many are damaged.
    fn nodes(&mut self, header: &PageHeader, at: usize) -> u64 {
        let mut damaged = 0;
        let is_wide = header.kind == PageKind::WideNodes;
        let entry_bytes = if is_wide { WIDE_NODE_BYTES } else { NODE_BYTES };
        for (index, slot) in page_body(self.trace.bytes, at).chunks_exact(entry_bytes).enumerate() {
            let (exists, node) = if is_wide {
                let words = [u64_at(slot, 0), u64_at(slot, 8)];
                (words[1] != 0, Node::from_wide(words))
            } else {
                let words = [0, 4, 8].map(|place| u32_at(slot, place));
                (words[2] != 0, Node::from_wire(words))
            };
            if exists {
                damaged += u64::from(!self.node(header.number as usize + index, node));
            }
        }
        damaged
    }

    /// Takes a node. False: it is damaged.
    fn node(&mut self, id: usize, node: Option<Node>) -> bool {
        // Ids are dense, so a number that is too large is damage.
        if id >= self.most_nodes() {
            return false;
        }
        self.trace.nodes.set(id, node);
        node.is_some()
    }

    /// Reads a chunk of nodes. False: not all of it makes sense.
    pub(super) fn node_chunk(&mut self, offset: usize) -> bool {
        let Some((_, plain)) = plain_chunk(self.trace.bytes, offset) else { return false };
        let Some(mut nodes) = NodesReader::new(&plain) else { return false };
        let are_sound = nodes.by_ref().all(|(id, node)| self.node(id as usize, Some(node)));
        are_sound && nodes.is_finished()
    }

    /// Damaged nodes are lost where no chunk has the page too. Once all chunks were read.
    pub(super) fn damaged_node_pages(&mut self) {
        for (serial, offset, damaged) in std::mem::take(&mut self.damaged_nodes) {
            if !self.replaced.get(&serial).copied().unwrap_or(false) {
                self.damage(offset, PAGE_BYTES, DamageKind::Entries(damaged));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::{Packing, TraceBuilder};
    use crate::header::Header;
    use crate::ids::MappingId;
    use crate::node::Frame;

    /// Two pages of nodes, the first one full.
    fn trace(packing: Packing) -> Vec<u8> {
        let mut builder = TraceBuilder::new();
        for offset in 0..NODES_PER_PAGE as u64 + 50 {
            builder.stack(&[Frame::Native { mapping: MappingId(1), offset }]);
        }
        builder.build(packing)
    }

    fn scan(bytes: &[u8]) -> Scan<'_> {
        Scan::new(bytes, Header::from_wire(bytes).unwrap())
    }

    const FIRST: usize = 2 * PAGE_BYTES;

    #[test]
    fn a_page_that_was_emptied_since_its_header_was_read_is_noticed_and_is_no_damage() {
        let before = trace(Packing::Raw);
        let mut scan_before = scan(&before);
        let parts = scan_before.parts();
        assert!(!scan_before.node_pages(&parts));
        // Emptied; being emptied; used again by a thread.
        let (mut emptied, mut torn, mut reused) = (before.clone(), before.clone(), before.clone());
        emptied[FIRST..FIRST + PAGE_BYTES].fill(0);
        torn[FIRST..FIRST + 4].fill(0);
        torn[FIRST + 68..FIRST + 72].fill(0);
        reused[FIRST + 8] ^= 1;
        for after in [emptied, torn, reused] {
            let mut scan = scan(&after);
            assert!(scan.node_pages(&parts));
            assert!(scan.damaged_nodes.is_empty());
        }
    }

    #[test]
    fn damaged_nodes_of_a_page_that_a_chunk_has_too_are_not_lost() {
        let (mut bytes, chunked) = (trace(Packing::Raw), trace(Packing::Chunked));
        bytes[FIRST + 100] ^= 1;
        let damage = |bytes: &[u8]| {
            let trace = crate::reader::Trace::open(bytes).unwrap();
            let nodes = (1..=NODES_PER_PAGE).filter(|&id| trace.nodes.get(id).is_some()).count();
            (trace.damage().len(), nodes)
        };
        assert_eq!(damage(&bytes), (1, NODES_PER_PAGE - 1));
        // The run of the chunk stands last, and its serial is that of the page.
        let magic = chunked.windows(4).position(|word| word == b"TFck").unwrap();
        bytes.extend_from_slice(&chunked[magic / PAGE_BYTES * PAGE_BYTES..]);
        assert_eq!(damage(&bytes), (0, NODES_PER_PAGE));
    }
}
