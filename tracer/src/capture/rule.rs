//! How to get from a frame to its caller, in eight bytes.
//!
//! ```text
//! 0..4 kind   4..24 mapping   24..44 place of the CFA / 8, signed   44..64 place of the saved bp / 8, signed
//! ```

use super::objects::NO_MAPPING;

/// What a rule says. Offsets are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The caller's frame begins at `sp + cfa`; `bp` is saved at an offset from there, or untouched.
    FromSp { cfa: i32, saved_bp: Option<i32> },
    /// The same from `bp`.
    FromBp { cfa: i32, saved_bp: Option<i32> },
    /// The frame was realigned: its beginning is stored at `bp + cfa`, `bp` at `bp + saved_bp`.
    Realigned { cfa: i32, saved_bp: i32 },
    /// The kernel called a signal handler: registers are in the signal frame.
    Signal,
    /// This is the outermost frame.
    Root,
    /// Nothing is known: a frame pointer may lead on.
    Unknown,
}

impl Step {
    /// Whether the way to the caller depends on `bp`, and whether the caller's `bp` is another one.
    #[inline(always)]
    pub(crate) fn use_of_bp(self) -> (bool, bool) {
        match self {
            Step::FromSp { saved_bp, .. } => (false, saved_bp.is_some()),
            Step::Signal | Step::Root => (false, true),
            Step::FromBp { .. } | Step::Realigned { .. } | Step::Unknown => (true, true),
        }
    }
}

/// A step and the object that the address belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) step: Step,
    /// As [`super::objects`] numbers them, or [`NO_MAPPING`].
    pub(crate) mapping: u32,
}

const SAME_BP: i32 = -(1 << 19);
const FIELD: u64 = (1 << 20) - 1;

fn field(value: i32) -> Option<u64> {
    let words = value / 8;
    if value % 8 != 0 || words <= SAME_BP || words >= 1 << 19 {
        return None;
    }
    Some(words as u64 & FIELD)
}

#[inline(always)]
fn signed(bits: u64) -> i32 {
    ((bits as u32) << 12) as i32 >> 12
}

impl Rule {
    /// The rule in eight bytes, never zero. What does not fit becomes [`Step::Unknown`].
    pub(crate) fn pack(self) -> u64 {
        let parts = |kind: u64, cfa: i32, saved: Option<i32>| {
            let saved = match saved {
                Some(offset) => field(offset)?,
                None => SAME_BP as u64 & FIELD,
            };
            Some(kind | (field(cfa)? << 24) | (saved << 44))
        };
        let packed = match self.step {
            Step::FromSp { cfa, saved_bp } => parts(1, cfa, saved_bp),
            Step::FromBp { cfa, saved_bp } => parts(2, cfa, saved_bp),
            Step::Realigned { cfa, saved_bp } => parts(3, cfa, Some(saved_bp)),
            Step::Signal => Some(4),
            Step::Root => Some(5),
            Step::Unknown => Some(6),
        };
        packed.unwrap_or(6) | (u64::from(self.mapping.min(NO_MAPPING)) << 4)
    }

    /// The rule of eight bytes.
    #[inline(always)]
    pub(crate) fn unpack(bits: u64) -> Self {
        let mapping = ((bits >> 4) & FIELD) as u32;
        let cfa = signed((bits >> 24) & FIELD).wrapping_mul(8);
        let saved = signed((bits >> 44) & FIELD);
        let saved_bp = (saved != SAME_BP).then(|| saved.wrapping_mul(8));
        let step = match bits & 15 {
            1 => Step::FromSp { cfa, saved_bp },
            2 => Step::FromBp { cfa, saved_bp },
            3 => Step::Realigned { cfa, saved_bp: saved.wrapping_mul(8) },
            4 => Step::Signal,
            5 => Step::Root,
            _ => Step::Unknown,
        };
        Self { step, mapping }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_survive_packing() {
        for step in [
            Step::FromSp { cfa: 8, saved_bp: None },
            Step::FromSp { cfa: 4_000_000, saved_bp: Some(-16) },
            Step::FromBp { cfa: 16, saved_bp: Some(-16) },
            Step::Realigned { cfa: -8, saved_bp: 0 },
            Step::Signal,
            Step::Root,
            Step::Unknown,
        ] {
            let rule = Rule { step, mapping: 12345 };
            assert_eq!(Rule::unpack(rule.pack()), rule);
        }
    }

    #[test]
    fn what_does_not_fit_is_unknown_and_keeps_its_object() {
        for cfa in [5_000_000, 12] {
            let rule = Rule { step: Step::FromSp { cfa, saved_bp: None }, mapping: 7 };
            assert_eq!(Rule::unpack(rule.pack()), Rule { step: Step::Unknown, mapping: 7 });
        }
    }
}
