//! What a block is for, where its stack says so: memory of another domain, or a pool.
//!
//! A framework's allocator takes memory from the C heap or from mmap. Counted where it is used, no
//! byte is counted twice: a tensor is the tensor's, and a region of tensors is a pool.

use rustc_hash::FxHashMap;
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

/// What CUDA's memory is for whose frame is a stack's leaf, if it is.
fn below_cuda(of_stack: &[u8], stack: Option<StackId>) -> Option<u8> {
    let code = of_stack.get(stack?.get() as usize).copied()?;
    let cuda = [Domain::Cuda, Domain::CudaHost].map(|domain| domain as u8 + 1);
    cuda.contains(&code).then_some(code)
}

/// The purposes of all stacks.
#[derive(Clone, Debug, Default)]
pub struct Purposes {
    /// By number of the stack: 0, or one more than the number of a domain, with [`POOL`] or without.
    of_stack: Vec<u8>,
    /// Above the numbers of all stacks.
    stacks: usize,
    /// Of CUDA's memory: the context that it ends with.
    contexts: FxHashMap<StackId, u32>,
}

impl Purposes {
    /// Reads them off the leaves of all stacks.
    pub fn of(trace: &Trace<'_>) -> Self {
        let mut of_stack = Vec::new();
        let mut contexts = FxHashMap::default();
        let mut stacks = 0;
        for (stack, node) in trace.nodes() {
            stacks = stacks.max(stack.get() as usize + 1);
            let context = match node.frame {
                Frame::Cuda(memory) => Some(memory.context),
                // What stands just below CUDA's frame says more of the same memory.
                Frame::Op(_) | Frame::Pool(_) => {
                    node.parent.and_then(|parent| contexts.get(&parent).copied())
                }
                _ => None,
            };
            if let Some(context) = context.filter(|context| *context != 0) {
                contexts.insert(stack, context);
            }
            let code = match node.frame {
                Frame::Cuda(memory) => memory.kind.domain() as u8 + 1,
                // A tensor inside a pool of CUDA's memory, as the frame above says.
                Frame::Op(_) => match below_cuda(&of_stack, node.parent) {
                    Some(code) => code,
                    None => Domain::TensorFlow as u8 + 1,
                },
                Frame::For(domain) => domain as u8 + 1,
                Frame::Pool(domain) => (domain as u8 + 1) | POOL,
                _ => continue,
            };
            let at = stack.get() as usize;
            // Nodes of a damaged trace may come in any order.
            of_stack.resize(of_stack.len().max(at + 1), 0);
            of_stack[at] = code;
        }
        Self { of_stack, stacks, contexts }
    }

    /// A number above those of all stacks.
    pub fn stacks(&self) -> usize {
        self.stacks
    }

    /// The CUDA context that memory of this stack ends with, if it does.
    pub fn context(&self, stack: Option<StackId>) -> Option<u32> {
        self.contexts.get(&stack?).copied()
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
    use tftrace_format::builder::{Packing, TraceBuilder};
    use tftrace_format::{CudaKind, CudaMemory, OpId};

    #[test]
    fn a_leaf_says_what_a_block_is_for() {
        let mut builder = TraceBuilder::new();
        let root = Frame::Raw { address: 1 };
        let plain = builder.stack(&[root]);
        let tensor = builder.stack(&[root, Frame::Op(OpId(3))]);
        let large = builder.stack(&[root, Frame::For(Domain::Python)]);
        let arena = builder.stack(&[root, Frame::Pool(Domain::Python)]);
        let memory = |kind| Frame::Cuda(CudaMemory { kind, device: Some(0), context: 1 });
        let device = builder.stack(&[root, memory(CudaKind::Device)]);
        let managed = builder.stack(&[root, memory(CudaKind::Managed)]);
        let on_device = builder.stack(&[root, memory(CudaKind::Device), Frame::Op(OpId(3))]);
        let pinned = builder.stack(&[root, memory(CudaKind::Pinned), Frame::Op(OpId(3))]);
        let region = builder.stack(&[root, memory(CudaKind::Device), Frame::Pool(Domain::Cuda)]);
        let bytes = builder.build(Packing::Raw);
        let purposes = Purposes::of(&Trace::open(&bytes).unwrap());
        for (stack, expected) in [
            (Some(plain), Purpose::Use(Domain::Malloc)),
            (Some(tensor), Purpose::Use(Domain::TensorFlow)),
            (Some(large), Purpose::Use(Domain::Python)),
            (Some(arena), Purpose::Pool(Domain::Python)),
            (Some(device), Purpose::Use(Domain::Cuda)),
            (Some(managed), Purpose::Use(Domain::CudaHost)),
            (Some(on_device), Purpose::Use(Domain::Cuda)),
            (Some(pinned), Purpose::Use(Domain::CudaHost)),
            (Some(region), Purpose::Pool(Domain::Cuda)),
            (StackId::new(4_000_000_000), Purpose::Use(Domain::Malloc)),
            (None, Purpose::Use(Domain::Malloc)),
        ] {
            assert_eq!(purposes.get(Domain::Malloc, stack), expected, "{stack:?}");
        }
    }
}
