//! Addresses of events as differences. Allocators hand out blocks of one size side by side, so an allocation is written as
//! the difference to the last one of about its size, and every other address as that to the last one of its domain.

/// Addresses are below this.
const ADDRESS_BITS: u32 = 48;
pub(crate) const ADDRESSES: u64 = 1 << ADDRESS_BITS;
/// Nearly all are multiples of 16: the bits below that come last, where zeros take nothing.
const LOW_BITS: u32 = 4;

/// The addresses that the next ones are compared with.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The last address of each domain.
    domains: [u64; 16],
    /// The last allocation of each domain and size, or of another one.
    sizes: [u64; Self::SIZES],
}

impl Places {
    const SIZES: usize = 64;
    /// Before the first event.
    pub(crate) const NONE: Self = Self { domains: [0; 16], sizes: [0; Self::SIZES] };

    /// The last address of a domain.
    #[inline]
    pub(crate) fn of_domain(&mut self, domain: u8) -> &mut u64 {
        &mut self.domains[usize::from(domain % 16)]
    }

    /// The last allocation of a domain and a size.
    #[inline]
    pub(crate) fn of_size(&mut self, domain: u8, size: u64) -> &mut u64 {
        let units = size.saturating_add(15) / 16;
        &mut self.sizes[units.wrapping_add(u64::from(domain) * 37) as usize % Self::SIZES]
    }
}

/// An address, as the number that stands for it behind another one. `None`: one of them is none.
#[inline]
pub(crate) fn number_of(from: u64, to: u64) -> Option<u64> {
    let (far, sign) = (to.abs_diff(from), u64::from(to < from));
    let turned = far >> LOW_BITS | (far % (1 << LOW_BITS)) << (ADDRESS_BITS - LOW_BITS);
    (to < ADDRESSES).then_some(turned << 1 | sign)
}

/// The address that a number stands for behind another address.
#[inline]
pub(crate) fn address_of(from: u64, number: u64) -> Option<u64> {
    let turned = number >> 1;
    let far = turned << LOW_BITS | turned >> (ADDRESS_BITS - LOW_BITS);
    let far = Some(far % ADDRESSES).filter(|_| turned < ADDRESSES)?;
    let to = if number & 1 == 0 { from.checked_add(far) } else { from.checked_sub(far) }?;
    Some(to).filter(|&to| to < ADDRESSES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_a_domain_share_their_places_as_documented() {
        let mut places = Places::NONE;
        *places.of_size(1, 16) = 7;
        for (domain, size, expected) in [(1, 1, 7), (1, 17, 0), (0, 16, 0), (0, 38 * 16, 7)] {
            assert_eq!(*places.of_size(domain, size), expected, "{domain} {size}");
        }
        *places.of_domain(1) = 9;
        assert_eq!((*places.of_domain(1), *places.of_domain(2)), (9, 0));
    }

    #[test]
    fn an_address_is_what_its_number_says_or_none() {
        let addresses = [0, 1, 15, 16, 4095, 1 << 47, ADDRESSES - 16, ADDRESSES - 1];
        for from in addresses {
            for to in addresses {
                let number = number_of(from, to).unwrap();
                assert_eq!(address_of(from, number), Some(to), "{from:#x} {to:#x}");
            }
            assert_eq!(number_of(from, ADDRESSES), None);
        }
        assert_eq!(address_of(0, 3), None, "below all");
        assert_eq!(address_of(ADDRESSES - 1, 2), None, "above all");
        assert_eq!(address_of(0, u64::MAX), None);
    }
}
