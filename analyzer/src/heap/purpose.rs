//! What a block is for, where its stack says so: memory of another domain, or a pool.
//!
//! A framework's allocator takes memory from the C heap or from mmap. Counted where it is used, no
//! byte is counted twice: a tensor is the tensor's, and a region of tensors is a pool.

use tftrace_format::reader::Trace;
use tftrace_format::{Domain, Frame, StackId};

/// What a block is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Memory of this domain.
    Use(Domain),
    /// A pool, out of which the allocator of this domain cuts its blocks.
    Pool(Domain),
}

const POOL: u8 = 0x80;

/// The purposes of all stacks.
#[derive(Clone, Debug, Default)]
pub struct Purposes {
    /// By number of the stack: 0, or one more than the number of a domain, with [`POOL`] or without.
    of_stack: Vec<u8>,
}

impl Purposes {
    /// Reads them off the leaves of all stacks.
    pub fn of(trace: &Trace<'_>) -> Self {
        let mut of_stack = Vec::new();
        for (stack, node) in trace.nodes() {
            let code = match node.frame {
                Frame::Op(_) => Domain::TensorFlow as u8 + 1,
                Frame::For(domain) => domain as u8 + 1,
                Frame::Pool(domain) => (domain as u8 + 1) | POOL,
                _ => continue,
            };
            let at = stack.get() as usize;
            of_stack.resize(at + 1, 0);
            of_stack[at] = code;
        }
        Self { of_stack }
    }

    /// What a block of this domain and stack is for.
    pub fn get(&self, domain: Domain, stack: Option<StackId>) -> Purpose {
        let code = stack.and_then(|stack| self.of_stack.get(stack.get() as usize));
        let named =
            code.and_then(|code| Domain::from_wire(u64::from(code & !POOL).checked_sub(1)?));
        match (code, named) {
            (Some(code), Some(named)) if code & POOL != 0 => Purpose::Pool(named),
            (_, Some(named)) => Purpose::Use(named),
            (_, None) => Purpose::Use(domain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tftrace_format::OpId;
    use tftrace_format::builder::{Packing, TraceBuilder};

    #[test]
    fn a_leaf_says_what_a_block_is_for() {
        let mut builder = TraceBuilder::new();
        let root = Frame::Raw { address: 1 };
        let plain = builder.stack(&[root]);
        let tensor = builder.stack(&[root, Frame::Op(OpId(3))]);
        let large = builder.stack(&[root, Frame::For(Domain::Python)]);
        let arena = builder.stack(&[root, Frame::Pool(Domain::Python)]);
        let bytes = builder.build(Packing::Raw);
        let purposes = Purposes::of(&Trace::open(&bytes).unwrap());
        for (stack, expected) in [
            (Some(plain), Purpose::Use(Domain::Malloc)),
            (Some(tensor), Purpose::Use(Domain::TensorFlow)),
            (Some(large), Purpose::Use(Domain::Python)),
            (Some(arena), Purpose::Pool(Domain::Python)),
            (StackId::new(4_000_000_000), Purpose::Use(Domain::Malloc)),
            (None, Purpose::Use(Domain::Malloc)),
        ] {
            assert_eq!(purposes.get(Domain::Malloc, stack), expected, "{stack:?}");
        }
    }
}
