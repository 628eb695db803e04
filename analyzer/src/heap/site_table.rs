//! Call stacks that asked for memory, numbered: what each asked for, has live, and had at the peak.
//!
//! What was live at the peak is known without a second look at the events: whoever changes for the
//! first time since the last peak is written down as it was.

use rustc_hash::FxHashMap;
use tftrace_format::{Domain, StackId};

use super::purpose::Purpose;
use super::totals::{Level, StackTotals, TotalsKey};

/// A call stack and what its memory is for.
///
/// Dense, numbered in order of first sight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteId(u32);

impl SiteId {
    /// The number, for a table with one row for each site.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Clone, Debug)]
struct Site {
    purpose: Purpose,
    stack: Option<StackId>,
    /// Another site of the same stack.
    next: Option<SiteId>,
    /// Whether it changed since the last peak.
    has_changed: bool,
    live: Level,
    allocated: Level,
}

/// All sites.
#[derive(Clone, Debug, Default)]
pub struct SiteTable {
    sites: Vec<Site>,
    /// By number of the stack, 0 for none: one more than the number of its first site, or 0.
    of_stack: Vec<u32>,
    /// The same for stacks whose numbers no stack of the trace has.
    of_unknown: FxHashMap<u32, u32>,
    /// What each had at the last peak that has changed since.
    at_peak: Vec<(SiteId, Level)>,
}

impl SiteTable {
    /// No sites yet, of a trace whose stacks have numbers below `stacks`.
    pub fn new(stacks: usize) -> Self {
        Self { of_stack: vec![0; stacks.max(1)], ..Self::default() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sites.len()
    }

    /// Whether nobody asked for memory yet.
    pub fn is_empty(&self) -> bool {
        self.sites.is_empty()
    }

    /// The site of a stack whose memory is for this.
    pub fn id(&mut self, purpose: Purpose, stack: Option<StackId>) -> SiteId {
        if let Some(id) = self.find(purpose, stack) {
            return id;
        }
        let number = StackId::to_wire(stack);
        let first = match self.of_stack.get_mut(number as usize) {
            Some(first) => first,
            None => self.of_unknown.entry(number).or_default(),
        };
        let id = SiteId(self.sites.len() as u32);
        let next = std::mem::replace(first, id.0 + 1).checked_sub(1).map(SiteId);
        let (live, allocated) = (Level::default(), Level::default());
        self.sites.push(Site { purpose, stack, next, has_changed: false, live, allocated });
        id
    }

    /// The same, if it asked for memory before.
    pub fn find(&self, purpose: Purpose, stack: Option<StackId>) -> Option<SiteId> {
        let number = StackId::to_wire(stack);
        let first = match self.of_stack.get(number as usize) {
            Some(first) => *first,
            None => *self.of_unknown.get(&number)?,
        };
        let mut next = first.checked_sub(1).map(SiteId);
        while let Some(id) = next {
            let site = self.sites.get(id.index())?;
            if site.purpose == purpose {
                return Some(id);
            }
            next = site.next;
        }
        None
    }

    /// The call stack of a site.
    pub fn stack(&self, id: SiteId) -> Option<StackId> {
        self.sites[id.index()].stack
    }

    /// What its memory is for.
    pub fn purpose(&self, id: SiteId) -> Purpose {
        self.sites[id.index()].purpose
    }

    /// Whose memory it is and which call stack asked for it; `None` for a pool.
    pub fn key(&self, id: SiteId) -> Option<TotalsKey> {
        self.sites[id.index()].key()
    }

    /// The same of the site with this number.
    pub fn key_at(&self, number: usize) -> Option<TotalsKey> {
        self.sites.get(number)?.key()
    }

    /// Looks at what a change of a site will look at.
    pub(super) fn look_at(&self, id: SiteId) -> u64 {
        self.sites.get(id.index()).map_or(0, |site| site.live.bytes ^ site.allocated.bytes)
    }

    /// Memory was asked for.
    pub(super) fn asked(&mut self, id: SiteId, more: Level) {
        self.sites[id.index()].allocated.add_all(more);
    }

    /// Memory came to life.
    pub(super) fn came(&mut self, id: SiteId, more: Level) {
        self.will_change(id).live.add_all(more);
    }

    /// Live memory is gone.
    pub(super) fn went(&mut self, id: SiteId, less: Level) {
        self.will_change(id).live.remove_all(less);
    }

    /// Nothing is live any more.
    pub(super) fn forget_all(&mut self) {
        for number in 0..self.sites.len() as u32 {
            self.will_change(SiteId(number)).live = Level::default();
        }
    }

    fn will_change(&mut self, id: SiteId) -> &mut Site {
        let site = &mut self.sites[id.index()];
        if !site.has_changed {
            site.has_changed = true;
            self.at_peak.push((id, site.live));
        }
        site
    }

    /// This is the peak so far.
    pub(super) fn is_peak(&mut self) {
        for (id, _) in self.at_peak.drain(..) {
            self.sites[id.index()].has_changed = false;
        }
    }

    /// What every site has live, pools left out.
    pub fn live(&self, domains: &[Domain]) -> StackTotals {
        self.totals(domains, |site| site.live)
    }

    /// What every site ever asked for, pools and mappings of files left out.
    pub fn allocated(&self, domains: &[Domain]) -> StackTotals {
        self.totals(domains, |site| site.allocated)
    }

    /// What every site had live at the last peak, pools left out.
    pub fn at_peak(&self, domains: &[Domain]) -> StackTotals {
        let unchanged = |site: &Site| if site.has_changed { Level::default() } else { site.live };
        let mut totals = self.totals(domains, unchanged);
        for &(id, level) in &self.at_peak {
            totals.add_of(self.key(id), level, domains);
        }
        totals
    }

    fn totals(&self, domains: &[Domain], of: impl Fn(&Site) -> Level) -> StackTotals {
        let mut totals = StackTotals::default();
        for site in &self.sites {
            totals.add_of(site.key(), of(site), domains);
        }
        totals
    }
}

impl Site {
    fn key(&self) -> Option<TotalsKey> {
        match self.purpose {
            Purpose::Use(of) => Some((of, self.stack)),
            Purpose::Pool(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PYTHON: Purpose = Purpose::Use(Domain::Python);

    #[test]
    fn a_stack_has_one_site_for_each_purpose() {
        let mut sites = SiteTable::new(3);
        for stack in [None, StackId::new(2), StackId::new(u32::MAX)] {
            let python = sites.id(PYTHON, stack);
            let pool = sites.id(Purpose::Pool(Domain::Python), stack);
            assert_ne!(python, pool);
            assert_eq!((sites.id(PYTHON, stack), sites.key(pool)), (python, None));
            assert_eq!(sites.key(python), Some((Domain::Python, stack)));
        }
        assert_eq!(sites.len(), 6);
    }

    #[test]
    fn the_peak_is_what_was_live_then_whatever_changed_since() {
        let mut sites = SiteTable::new(0);
        let [one, two, three] = [1, 2, 3].map(|stack| sites.id(PYTHON, StackId::new(stack)));
        let of = |totals: StackTotals| {
            [1, 2, 3].map(|stack| totals.get((Domain::Python, StackId::new(stack))).bytes)
        };
        sites.came(one, Level::exact(100, 1));
        sites.is_peak();
        sites.came(two, Level::exact(20, 1));
        sites.is_peak();
        sites.went(one, Level::exact(100, 1));
        sites.came(three, Level::exact(5, 1));
        sites.came(three, Level::exact(5, 1));
        assert_eq!(of(sites.at_peak(&Domain::ALL)), [100, 20, 0]);
        assert_eq!(of(sites.live(&Domain::ALL)), [0, 20, 10]);
        sites.forget_all();
        assert_eq!(of(sites.at_peak(&Domain::ALL)), [100, 20, 0]);
        assert_eq!(of(sites.at_peak(&[Domain::Cuda])), [0; 3]);
        sites.is_peak();
        assert_eq!(sites.at_peak(&Domain::ALL).iter().count(), 0);
    }
}
