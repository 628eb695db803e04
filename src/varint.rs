//! Numbers of variable length: seven bits a byte, least significant first (LEB128).

/// Writes into a caller's buffer. Runs out of room quietly: ask [`Writer::finish`].
#[derive(Debug)]
pub struct Writer<'a> {
    bytes: &'a mut [u8],
    len: usize,
    overflowed: bool,
}

impl<'a> Writer<'a> {
    /// Starts at the beginning of `bytes`.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, len: 0, overflowed: false }
    }

    /// Appends one byte.
    pub fn byte(&mut self, value: u8) {
        match self.bytes.get_mut(self.len) {
            Some(target) => {
                *target = value;
                self.len = self.len.saturating_add(1);
            }
            None => self.overflowed = true,
        }
    }

    /// Appends a number.
    pub fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.byte((value & 0x7F) as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    /// Appends a number that may be negative, as a wrapping difference.
    pub fn difference(&mut self, from: u64, to: u64) {
        let delta = to.wrapping_sub(from) as i64;
        self.number(((delta << 1) ^ (delta >> 63)) as u64);
    }

    /// Appends a length and these bytes.
    pub fn bytes(&mut self, value: &[u8]) {
        self.number(value.len() as u64);
        match crate::page::put(self.bytes, self.len, value) {
            Some(()) => self.len = self.len.saturating_add(value.len()),
            None => self.overflowed = true,
        }
    }

    /// How many bytes were written; `None` if they did not fit.
    pub fn finish(self) -> Option<usize> {
        if self.overflowed { None } else { Some(self.len) }
    }
}

/// Reads what [`Writer`] wrote. Every method gives `None` at the end of the bytes.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the beginning of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// How many bytes are left.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes one byte.
    pub fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(first)
    }

    /// Takes a number.
    pub fn number(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// Takes a difference and applies it to `from`.
    pub fn difference(&mut self, from: u64) -> Option<u64> {
        let zigzag = self.number()?;
        let delta = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
        Some(from.wrapping_add(delta as u64))
    }

    /// Takes a length and that many bytes.
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        self.take(len)
    }

    /// Takes so many bytes.
    pub fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_differences_survive() {
        let mut room = [0; 64];
        let mut writer = Writer::new(&mut room);
        for value in [0, 127, 128, u64::MAX] {
            writer.number(value);
            writer.difference(5, value);
        }
        let len = writer.finish().unwrap();
        let mut reader = Reader::new(&room[..len]);
        for value in [0, 127, 128, u64::MAX] {
            assert_eq!(reader.number(), Some(value));
            assert_eq!(reader.difference(5), Some(value));
        }
        assert!(reader.is_empty());
        assert_eq!(reader.number(), None);
    }

    #[test]
    fn running_out_of_room_is_reported() {
        let mut room = [0; 3];
        let mut writer = Writer::new(&mut room);
        writer.bytes(b"four");
        assert_eq!(writer.finish(), None);
    }
}
