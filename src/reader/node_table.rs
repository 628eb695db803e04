//! The stack tree of a trace, twelve bytes a node: a TensorFlow program has millions.
//!
//! Nodes stay packed as the file has them, without their check byte: a decoded one takes twice as much.

use crate::ids::StackId;
use crate::node::{Frame, Node};

/// Nodes by number.
#[derive(Debug, Default)]
pub(super) struct NodeTable {
    /// 0: none.
    parents: Vec<u32>,
    /// A frame's word is never 0: where this is, the node is lost or was never there.
    frames: Vec<u64>,
}

impl NodeTable {
    /// Makes room for nodes with numbers below `end`, and for no more.
    pub(super) fn reserve(&mut self, end: usize) {
        self.parents.reserve_exact(end.saturating_sub(self.parents.len()));
        self.frames.reserve_exact(end.saturating_sub(self.frames.len()));
    }

    /// Sets the node with a number; `None` says that it is lost.
    pub(super) fn set(&mut self, number: usize, node: Option<Node>) {
        if self.frames.len() <= number {
            self.parents.resize(number + 1, 0);
            self.frames.resize(number + 1, 0);
        }
        self.parents[number] = node.map_or(0, |node| StackId::to_wire(node.parent));
        self.frames[number] = node.map_or(0, |node| node.frame.to_wire());
    }

    /// The node with a number.
    pub(super) fn get(&self, number: usize) -> Option<Node> {
        let (parent, frame) = (*self.parents.get(number)?, *self.frames.get(number)?);
        Some(Node { parent: StackId::new(parent), frame: Frame::from_wire(frame)? })
    }

    /// How many numbers there are, those of lost nodes included.
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::MappingId;

    #[test]
    fn nodes_come_back_as_they_were_and_lost_ones_do_not() {
        let node = |parent, frame| Some(Node { parent: StackId::new(parent), frame });
        let native = Frame::Native { mapping: MappingId(7), offset: (1 << 40) - 1 };
        let mut nodes = NodeTable::default();
        nodes.reserve(10);
        nodes.set(1, node(0, Frame::Unknown));
        nodes.set(9, node(u32::MAX, native));
        nodes.set(5, node(1, native));
        nodes.set(5, None);
        assert_eq!(nodes.get(1), node(0, Frame::Unknown));
        assert_eq!(nodes.get(9), node(u32::MAX, native));
        assert_eq!([0, 2, 5, 10].map(|number| nodes.get(number)), [None; 4]);
        assert_eq!((nodes.len(), nodes.frames.capacity()), (10, 10));
    }
}
