//! The live blocks of a domain, by address.
//!
//! One lookup for each event, and 20 bytes for each block, in a row; the table that finds them there has
//! four for each of its places. Nothing else of the analyzer is looked at so often, or grows so much.

use rustc_hash::FxHashMap;
use tftrace_format::{StackId, Ticks};

use super::place_table::PlaceTable;

/// A live block, without its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Bytes as requested.
    pub size: u64,
    /// Who asked.
    pub stack: Option<StackId>,
    /// When.
    pub born: Ticks,
}

/// Live blocks.
#[derive(Clone, Debug, Default)]
pub(super) struct BlockMap {
    /// Places in `rows`, by the address that is there.
    places: PlaceTable,
    rows: Vec<Row>,
    /// The first row that no block has: one more than its place, or 0. It says which is the next.
    vacant: u32,
    /// What has no room in a row. The row is there, but for an address that has no room in it either.
    others: FxHashMap<u64, Block>,
}

impl BlockMap {
    /// Adds a block; gives the one that it replaces.
    pub(super) fn insert(&mut self, address: u64, block: Block) -> Option<Block> {
        let Some(row) = Row::new(address, &block) else {
            return self.others.insert(address, block);
        };
        let Self { places, rows, vacant, others } = self;
        let hash = hash(address);
        let earlier = match places.find(hash, |place| rows[place as usize].address() == address) {
            Some(found) => {
                let earlier = std::mem::replace(&mut rows[found.place as usize], row);
                earlier.block().or_else(|| others.remove(&address))
            }
            None => {
                if places.is_full() {
                    places.make_room();
                    for (place, row) in (0..).zip(rows.iter()).filter(|(_, row)| !row.is_vacant()) {
                        places.add(self::hash(row.address()), place);
                    }
                }
                let place = vacant.checked_sub(1).unwrap_or(rows.len() as u32);
                match rows.get_mut(place as usize) {
                    Some(vacated) => *vacant = std::mem::replace(vacated, row).next_vacant(),
                    None => rows.push(row),
                }
                places.add(hash, place);
                None
            }
        };
        if row.is_stub() {
            self.others.insert(address, block);
        }
        earlier
    }

    /// Takes a block out.
    pub(super) fn remove(&mut self, address: u64) -> Option<Block> {
        let Self { places, rows, vacant, others } = self;
        let is_it = |place: u32| rows[place as usize].address() == address;
        let Some(found) = places.find(hash(address), is_it) else {
            return if address < ADDRESSES { None } else { others.remove(&address) };
        };
        places.remove(found);
        let place = found.place;
        let next = std::mem::replace(vacant, place + 1);
        let row = std::mem::replace(&mut rows[place as usize], Row::vacant(next));
        row.block().or_else(|| others.remove(&address))
    }

    /// Looks at where it is known whether a block is at an address.
    #[inline]
    pub(super) fn look_for(&self, address: u64) -> u32 {
        self.places.look_at(hash(address))
    }

    /// Where the block at an address may be.
    #[inline]
    pub(super) fn guess(&self, address: u64) -> usize {
        self.places.guess(hash(address)).unwrap_or(0) as usize
    }

    /// Looks at the block that may be there.
    #[inline]
    pub(super) fn look_at(&self, guessed: usize) -> u32 {
        self.rows.get(guessed).map_or(0, |row| row.0[0] ^ row.0[4])
    }

    /// All of them, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, Block)> + '_ {
        let others = self.others.iter().map(|(&address, &block)| (address, block));
        self.rows.iter().filter_map(|row| Some((row.address(), row.block()?))).chain(others)
    }
}

/// A live block as it is kept: 48 bits of address, 56 of birth, 32 of stack, 24 of size.
///
/// ```text
/// word 0   address, low bits      word 1   16 address, high bits, 16 birth, high bits
/// word 2   birth, middle bits     word 3   stack      word 4   8 birth, low bits, 24 size
/// ```
#[derive(Clone, Copy, Debug)]
struct Row([u32; 5]);

const _: () = assert!(
    size_of::<Row>() == 20,
    "a trace with ten million live blocks takes 40 MB more for each word"
);

/// Addresses from here on have no room in a row, and neither have births and sizes from these on: such
/// blocks are few, or the trace is damaged.
const ADDRESSES: u64 = 1 << 48;
const BIRTHS: u64 = 1 << 56;
const SIZES: u32 = VACANT;

/// Instead of a size: no block is here.
const VACANT: u32 = STUB - 1;
/// Instead of a size: the block is in `others`.
const STUB: u32 = (1 << 24) - 1;

impl Row {
    /// `None`: not even the address has room.
    fn new(address: u64, block: &Block) -> Option<Self> {
        if address >= ADDRESSES {
            return None;
        }
        let fits = block.size < u64::from(SIZES) && block.born.0 < BIRTHS;
        let (size, born) = if fits { (block.size as u32, block.born.0) } else { (STUB, 0) };
        Some(Self([
            address as u32,
            (address >> 32) as u32 | ((born >> 40) as u32) << 16,
            (born >> 8) as u32,
            StackId::to_wire(block.stack),
            (born & 0xFF) as u32 | size << 8,
        ]))
    }

    fn vacant(next: u32) -> Self {
        Self([next, 0, 0, 0, VACANT << 8])
    }

    fn is_vacant(&self) -> bool {
        self.0[4] >> 8 == VACANT
    }

    fn next_vacant(&self) -> u32 {
        self.0[0]
    }

    fn address(&self) -> u64 {
        u64::from(self.0[0]) | u64::from(self.0[1] & 0xFFFF) << 32
    }

    fn is_stub(&self) -> bool {
        self.0[4] >> 8 == STUB
    }

    /// The block, if it is here.
    fn block(&self) -> Option<Block> {
        let [_, high, middle, stack, low] = self.0;
        let born = u64::from(high >> 16) << 40 | u64::from(middle) << 8 | u64::from(low & 0xFF);
        let (size, stack, born) = (u64::from(low >> 8), StackId::new(stack), Ticks(born));
        (size < u64::from(SIZES)).then_some(Block { size, stack, born })
    }
}

/// Every bit of an address has a part in the low bits and in the high ones.
fn hash(address: u64) -> u64 {
    let product = u128::from(address) * 0x9E37_79B9_7F4A_7C15;
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_every_size_come_back_as_they_were() {
        let mut blocks = BlockMap::default();
        let stack = StackId::new(u32::MAX);
        let block = |size| Block { size, stack, born: Ticks(size) };
        let limit = u64::from(SIZES);
        let sizes =
            [0, 1, limit - 1, limit, limit + 1, limit + 2, BIRTHS - 1, BIRTHS, 1 << 32, u64::MAX];
        let addresses = (0..6).chain(ADDRESSES - 2..);
        for (address, size) in addresses.clone().zip(sizes) {
            assert_eq!(blocks.insert(address, block(size)), None);
        }
        let expected: Vec<_> =
            addresses.zip(sizes).map(|(address, size)| (address, block(size))).collect();
        let mut all: Vec<_> = blocks.iter().collect();
        all.sort_unstable_by_key(|(address, _)| *address);
        assert_eq!(all, expected);
        for (address, old) in expected {
            assert_eq!(blocks.insert(address, block(7)), Some(old));
            assert_eq!(blocks.insert(address, old), Some(block(7)));
            assert_eq!(blocks.remove(address), Some(old));
            assert_eq!(blocks.remove(address), None);
        }
        assert_eq!(blocks.iter().count(), 0);
        assert!(blocks.others.is_empty());
    }

    #[test]
    fn rows_are_used_again_and_no_block_has_two() {
        let mut blocks = BlockMap::default();
        let mut truth = std::collections::BTreeMap::new();
        let mut random = 1u64;
        for at in 0..100_000u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(at | 1);
            let (address, dice) = ((random >> 40) % 1500 * 16, random >> 33);
            let block = Block { size: dice, stack: StackId::new(dice as u32), born: Ticks(at) };
            match random >> 63 {
                0 => assert_eq!(blocks.insert(address, block), truth.insert(address, block)),
                _ => assert_eq!(blocks.remove(address), truth.remove(&address)),
            }
        }
        let mut all: Vec<_> = blocks.iter().collect();
        all.sort_unstable_by_key(|(address, _)| *address);
        assert_eq!(all, truth.into_iter().collect::<Vec<_>>());
        assert!(blocks.rows.len() < 1500, "{} rows", blocks.rows.len());
    }
}
