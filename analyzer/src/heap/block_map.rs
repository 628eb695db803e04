//! The live blocks of a domain, by address.
//!
//! One lookup for each event, and 24 bytes for each block: nothing else of the analyzer is looked at
//! so often, or grows so much.

use rustc_hash::FxHashMap;
use tftrace_format::Ticks;

use super::site_table::SiteId;

/// A live block, without its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Bytes as requested.
    pub size: u64,
    /// Who asked.
    pub site: SiteId,
    /// When.
    pub born: Ticks,
}

/// A block as it is kept.
#[derive(Clone, Copy, Debug)]
struct Packed {
    born: Ticks,
    /// [`LARGE`]: it is in `large`.
    size: u32,
    site: SiteId,
}

const _: () = assert!(
    size_of::<(u64, Packed)>() == 24,
    "a trace with ten million live blocks takes 80 MB more for each word"
);

/// Blocks from this size on are few.
const LARGE: u32 = u32::MAX;

/// Live blocks.
#[derive(Clone, Debug, Default)]
pub(super) struct BlockMap {
    blocks: FxHashMap<u64, Packed>,
    /// The sizes of large ones.
    large: FxHashMap<u64, u64>,
}

impl BlockMap {
    /// Adds a block; gives the one that it replaces.
    pub(super) fn insert(&mut self, address: u64, block: Block) -> Option<Block> {
        let Block { size, site, born } = block;
        let packed = u32::try_from(size).unwrap_or(LARGE);
        let earlier = self.blocks.insert(address, Packed { born, size: packed, site });
        let earlier = earlier.map(|packed| self.taken(address, packed));
        if packed == LARGE {
            self.large.insert(address, size);
        }
        earlier
    }

    /// Takes a block out.
    pub(super) fn remove(&mut self, address: u64) -> Option<Block> {
        let packed = self.blocks.remove(&address)?;
        Some(self.taken(address, packed))
    }

    /// Who asked for the block at an address, if one is live there.
    pub(super) fn site(&self, address: u64) -> Option<SiteId> {
        self.blocks.get(&address).map(|packed| packed.site)
    }

    /// All of them, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, Block)> + '_ {
        self.blocks.iter().map(|(&address, packed)| {
            let large = (packed.size == LARGE).then(|| self.large.get(&address).copied()).flatten();
            (address, packed.of_size(large))
        })
    }

    fn taken(&mut self, address: u64, packed: Packed) -> Block {
        let large = (packed.size == LARGE).then(|| self.large.remove(&address)).flatten();
        packed.of_size(large)
    }
}

impl Packed {
    fn of_size(self, large: Option<u64>) -> Block {
        let Packed { born, size, site } = self;
        Block { size: large.unwrap_or(u64::from(size)), site, born }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Purpose, SiteTable};
    use super::*;
    use tftrace_format::Domain;

    #[test]
    fn blocks_of_every_size_come_back_as_they_were() {
        let site = SiteTable::default().id(Purpose::Use(Domain::Malloc), None);
        let mut blocks = BlockMap::default();
        let block = |size| Block { size, site, born: Ticks(size) };
        let sizes = [0, 1, u64::from(LARGE) - 1, u64::from(LARGE), 1 << 32, u64::MAX];
        for (address, size) in (0..).zip(sizes) {
            assert_eq!(blocks.insert(address, block(size)), None);
        }
        let mut all: Vec<_> = blocks.iter().map(|(address, block)| (address, block.size)).collect();
        all.sort_unstable();
        assert_eq!(all, (0..).zip(sizes).collect::<Vec<_>>());
        assert_eq!(blocks.insert(5, block(7)), Some(block(u64::MAX)));
        for (address, size) in (0..5).zip(sizes) {
            assert_eq!(blocks.remove(address), Some(block(size)));
            assert_eq!(blocks.remove(address), None);
        }
        assert_eq!(blocks.remove(5), Some(block(7)));
        assert!(blocks.large.is_empty());
    }
}
