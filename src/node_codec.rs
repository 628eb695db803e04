//! A full page of the stack tree as the payload of a chunk: an eighth of the page, or less.
//!
//! ```text
//! the first node's id   how many nodes   8 bytes each: the frames   for each: how far before it its parent is
//! ```
//! Frames stand together, undivided: what a program calls comes again below other callers, and LZ4 finds it.

use crate::ids::StackId;
use crate::node::{Frame, NODE_BYTES, Node, PARENT_LIMIT};
use crate::page::{NODES_PER_PAGE, u32_at, u64_at};
use crate::varint::{Reader, Writer};

const FRAME_BYTES: usize = 8;

/// Writes the nodes of a page's body, the first of which has this id.
///
/// Gives the bytes written, or `None`: a node is missing or damaged, or `room` is too small.
pub fn write_nodes(first: u32, body: &[u8], room: &mut [u8]) -> Option<usize> {
    let words = |slot: &[u8]| [0, 4, 8].map(|at| u32_at(slot, at));
    let nodes = || body.chunks_exact(NODE_BYTES).take(NODES_PER_PAGE);
    let mut out = Writer::new(room);
    out.number(first.into());
    out.number(nodes().len() as u64);
    let at = out.finish()?;
    let len = nodes().len().checked_mul(FRAME_BYTES)?;
    let (frames, rest) = room.get_mut(at..)?.split_at_mut_checked(len)?;
    for (slot, place) in nodes().zip(frames.chunks_exact_mut(FRAME_BYTES)) {
        Node::from_wire(words(slot))?;
        *place.first_chunk_mut::<FRAME_BYTES>()? = *slot.last_chunk()?;
    }
    let mut out = Writer::new(rest);
    for (slot, id) in nodes().zip(first..) {
        let [parent, ..] = words(slot);
        out.number(id.wrapping_sub(parent % PARENT_LIMIT).into());
    }
    at.checked_add(len)?.checked_add(out.finish()?)
}

/// Reads what [`write_nodes`] wrote; ends at the first node that makes no sense.
#[derive(Clone, Debug)]
pub struct NodesReader<'a> {
    frames: &'a [u8],
    parents: Reader<'a>,
    next: u32,
}

impl<'a> NodesReader<'a> {
    /// Stands before the first node.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let mut input = Reader::new(bytes);
        let next = u32::try_from(input.number()?).ok()?;
        let count = usize::try_from(input.number()?).ok()?;
        let frames = input.take(count.checked_mul(FRAME_BYTES)?)?;
        Some(Self { frames, parents: input, next })
    }

    /// Whether everything was read.
    pub fn is_finished(&self) -> bool {
        self.frames.is_empty() && self.parents.is_empty()
    }
}

impl Iterator for NodesReader<'_> {
    /// The id, and the node.
    type Item = (u32, Node);

    fn next(&mut self) -> Option<(u32, Node)> {
        let (frame, rest) = self.frames.split_at_checked(FRAME_BYTES)?;
        let distance = u32::try_from(self.parents.number()?).ok()?;
        let (id, parent) = (self.next, self.next.wrapping_sub(distance));
        let frame = Frame::from_wire(u64_at(frame, 0))?;
        self.frames = rest;
        self.next = id.checked_add(1)?;
        Some((id, Node { parent: StackId::new(parent), frame }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{CodeId, MappingId};
    use crate::page_codec::PLAIN_LIMIT;

    fn body(first: u32) -> (Vec<u8>, Vec<(u32, Node)>) {
        let nodes = (first..).take(NODES_PER_PAGE).map(|id| {
            let frame = match id % 3 {
                0 => Frame::Native { mapping: MappingId(id % 7), offset: u64::from(id) << 8 },
                1 => Frame::Python { code: CodeId(id), instruction: id % 100 },
                _ => Frame::Unknown,
            };
            (id, Node { parent: StackId::new(id / 2 * (id % 5)), frame })
        });
        let nodes: Vec<_> = nodes.collect();
        let words = nodes.iter().flat_map(|(_, node)| node.to_wire().unwrap());
        (words.flat_map(u32::to_le_bytes).collect(), nodes)
    }

    #[test]
    fn nodes_come_back_with_their_numbers() {
        for first in [0, 2730, PARENT_LIMIT / 2 - 5000] {
            let (body, nodes) = body(first);
            let mut room = vec![0; PLAIN_LIMIT];
            let len = write_nodes(first, &body, &mut room).unwrap();
            let mut reader = NodesReader::new(&room[..len]).unwrap();
            assert_eq!(reader.by_ref().collect::<Vec<_>>(), nodes);
            assert!(reader.is_finished());
            for cut in [0, 1, 5, len / 2, len - 1] {
                let whole = NodesReader::new(&room[..cut]).is_some_and(|mut reader| {
                    let read: Vec<_> = reader.by_ref().collect();
                    assert!(nodes.starts_with(&read));
                    reader.is_finished()
                });
                assert!(!whole, "{cut}");
            }
        }
    }

    #[test]
    fn a_page_with_a_hole_or_a_damaged_node_stays_a_page() {
        let (good, _) = body(1);
        let mut room = vec![0; PLAIN_LIMIT];
        for damage in [0, 12 * 100 + 3, good.len() - 1] {
            let mut bad = good.clone();
            bad[damage] ^= 1;
            assert_eq!(write_nodes(1, &bad, &mut room), None, "{damage}");
        }
        let mut hole = good.clone();
        hole[24..36].fill(0);
        assert_eq!(write_nodes(1, &hole, &mut room), None);
        assert_eq!(write_nodes(1, &good, &mut room[..1000]), None, "no room");
        assert!(write_nodes(1, &good, &mut room).is_some());
    }
}
