//! Finds the row of a block by its address: four bytes for each place.
//!
//! A hash table of numbers. Its buckets are cache lines, so that one look at memory tells where a block
//! is, or that there is none. It never sees the rows: who asks says which of two it meant.

/// Places in a bucket.
const SLOTS: usize = 16;

/// A cache line. Each word is [`EMPTY`], [`GONE`], or a place above a part of the hash.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Bucket([u32; SLOTS]);

const _: () = assert!(size_of::<Bucket>() == 64, "a bucket is a cache line");

/// Nothing was ever here since the bucket was last full, so that nothing is in a later one instead.
const EMPTY: u32 = 0;
/// Something may be in a later bucket because something was here.
const GONE: u32 = 1;
/// What is added to a place, so that it is neither of these.
const FIRST: u32 = 2;

/// Numbers of rows, by hash.
#[derive(Clone, Debug, Default)]
pub(super) struct PlaceTable {
    /// None, or a power of two.
    buckets: Vec<Bucket>,
    /// Words that are places, and words that are not [`EMPTY`].
    len: usize,
    used: usize,
}

/// Where a place was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) place: u32,
    bucket: usize,
    slot: usize,
}

impl PlaceTable {
    /// Where a place with this hash is, of which `is_it` is true.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<Found> {
        let mut bucket = self.home(hash)?;
        let (of_place, tag) = (self.place_mask(), self.tag(hash));
        loop {
            let words = &self.buckets[bucket].0;
            let mut alike = which(words, |word| word & !of_place == tag);
            while alike != 0 {
                let slot = alike.trailing_zeros() as usize % SLOTS;
                if let Some(place) = (words[slot] & of_place).checked_sub(FIRST)
                    && is_it(place)
                {
                    return Some(Found { place, bucket, slot });
                }
                alike &= alike - 1;
            }
            if which(words, |word| word == EMPTY) != 0 {
                return None;
            }
            bucket = self.after(bucket);
        }
    }

    /// A place that may be the one with this hash, without asking whether it is.
    #[inline]
    pub(super) fn guess(&self, hash: u64) -> Option<u32> {
        let words = &self.buckets[self.home(hash)?].0;
        let (of_place, tag) = (self.place_mask(), self.tag(hash));
        let alike = which(words, |word| word & !of_place == tag);
        // Of no slot: the last one, which is as good as any.
        let slot = (alike | 1 << (SLOTS - 1)).trailing_zeros() as usize % SLOTS;
        (words[slot] & of_place).checked_sub(FIRST)
    }

    /// Looks at what [`PlaceTable::find`] will look at.
    #[inline]
    pub(super) fn look_at(&self, hash: u64) -> u32 {
        let bucket = self.home(hash).and_then(|home| self.buckets.get(home));
        bucket.map_or(0, |bucket| bucket.0[0])
    }

    /// Whether there is no room for another one.
    pub(super) fn is_full(&self) -> bool {
        // Three quarters: one bucket in seven is full then, and a place seldom two buckets off.
        self.used >= self.buckets.len() * SLOTS / 4 * 3
    }

    /// Makes room. All that were added are gone, and are to be added again.
    pub(super) fn make_room(&mut self) {
        let slots = self.buckets.len() * SLOTS;
        let buckets = match self.len {
            // Most of what took the room is gone.
            len if len < slots / 2 => self.buckets.len(),
            _ => (2 * self.buckets.len()).max(1),
        };
        // The old ones first, so that both are never there at once.
        *self = Self::default();
        self.buckets.resize(buckets, Bucket([EMPTY; SLOTS]));
    }

    /// Adds a place. There must be room. A place is a number below that of the most that were there at
    /// once.
    pub(super) fn add(&mut self, hash: u64, place: u32) {
        debug_assert!(!self.is_full() && place + FIRST <= self.place_mask(), "{place}");
        let Some(mut bucket) = self.home(hash) else { return };
        let word = self.tag(hash) | (place + FIRST);
        loop {
            let vacant = which(&self.buckets[bucket].0, |word| word <= GONE);
            if vacant != 0 {
                let slot = vacant.trailing_zeros() as usize % SLOTS;
                let old = std::mem::replace(&mut self.buckets[bucket].0[slot], word);
                self.used += usize::from(old == EMPTY);
                self.len += 1;
                return;
            }
            bucket = self.after(bucket);
        }
    }

    /// Takes a place out.
    pub(super) fn remove(&mut self, found: Found) {
        let words = &mut self.buckets[found.bucket].0;
        let was_never_full = which(words, |word| word == EMPTY) != 0;
        words[found.slot] = if was_never_full { EMPTY } else { GONE };
        self.used -= usize::from(was_never_full);
        self.len -= 1;
    }

    /// The bucket in which a search begins.
    fn home(&self, hash: u64) -> Option<usize> {
        Some(hash as usize & self.buckets.len().checked_sub(1)?)
    }

    fn after(&self, bucket: usize) -> usize {
        (bucket + 1) & (self.buckets.len() - 1)
    }

    /// The bits of a word that a place may have: there are fewer rows than slots.
    fn place_mask(&self) -> u32 {
        (self.buckets.len() * SLOTS - 1) as u32
    }

    /// The other bits, which are of the hash.
    fn tag(&self, hash: u64) -> u32 {
        (hash >> 32) as u32 & !self.place_mask()
    }
}

/// Which words are so, as bits. All of them are asked: that is faster than to stop.
#[inline]
fn which(words: &[u32; SLOTS], is_so: impl Fn(u32) -> bool) -> u32 {
    let words = words.iter().enumerate();
    words.fold(0, |bits, (slot, word)| bits | u32::from(is_so(*word)) << slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes that are alike fill buckets one after the other, and what is behind a full one is found
    /// whatever goes before it.
    #[test]
    fn places_are_found_behind_full_buckets_and_behind_those_that_are_gone() {
        let mut table = PlaceTable::default();
        let hash = |place: u32| u64::from(place % 3) << 40 | u64::from(place % 2);
        let (mut live, mut vacant): (Vec<u32>, Vec<u32>) = (Vec::new(), Vec::new());
        for round in 0..600usize {
            if round % 5 < 3 {
                if table.is_full() {
                    table.make_room();
                    live.iter().for_each(|&place| table.add(hash(place), place));
                }
                let place = vacant.pop().unwrap_or(live.len() as u32);
                table.add(hash(place), place);
                live.push(place);
            } else {
                let place = live.swap_remove(round * 7 % live.len());
                let found = table.find(hash(place), |it| it == place).unwrap();
                assert_eq!(found.place, place);
                table.remove(found);
                vacant.push(place);
            }
            assert_eq!(table.len, live.len());
            for place in live.iter().chain(&vacant).copied() {
                let found = table.find(hash(place), |it| it == place);
                assert_eq!(found.is_some(), live.contains(&place), "{place} in round {round}");
            }
        }
    }

    #[test]
    fn a_table_does_not_grow_where_as_many_go_as_come() {
        let mut table = PlaceTable::default();
        for round in 0..20_000u32 {
            if let Some(old) = round.checked_sub(100) {
                // From one bucket on, which is full, and so are those behind it.
                let found = table.find(7, |it| it == old % 100).unwrap();
                table.remove(found);
            }
            if table.is_full() {
                table.make_room();
                let live = round.saturating_sub(99)..round;
                live.for_each(|place| table.add(7, place % 100));
            }
            table.add(7, round % 100);
        }
        assert_eq!((table.buckets.len(), table.len), (16, 100));
    }
}
