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
    /// Those of so many sites.
    pub fn all(sites: usize) -> impl Iterator<Item = Self> {
        (0..sites as u32).map(Self)
    }

    /// The number, for a table with one row for each site.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Clone, Debug)]
struct Site {
    live_bytes: u64,
    live_blocks: u64,
    allocated_bytes: u64,
    allocated_blocks: u64,
    /// How often it asked for memory, modulo 2^32.
    calls: u32,
    stack: Option<StackId>,
    /// Another site of the same stack: one more than its number, or 0.
    next: u32,
    purpose: Purpose,
    /// Whether it changed since the last peak.
    has_changed: bool,
    /// Whether it is in `noted`.
    is_noted: bool,
}

const _: () = assert!(
    size_of::<Site>() == 48,
    "every event changes one of these, and a TensorFlow program has half a million"
);

/// What sums that are estimated from a sample add to a site.
#[derive(Clone, Copy, Debug, Default)]
struct Variances {
    live: u128,
    allocated: u128,
    /// If the site changed since the last peak.
    at_peak: u128,
}

/// A site as it was when it changed for the first time since the changes were last taken.
#[derive(Clone, Copy, Debug)]
struct Noted {
    site: SiteId,
    calls: u32,
    live_bytes: u64,
}

/// What happened to a site since the changes were last taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteChange {
    /// Which.
    pub site: SiteId,
    /// How often it asked for memory.
    pub calls: u32,
    /// Bytes allocated less bytes freed.
    pub bytes: i64,
}

/// All sites.
#[derive(Clone, Debug, Default)]
pub struct SiteTable {
    sites: Vec<Site>,
    /// By number of the stack, 0 for none: one more than the number of its first site, or 0.
    of_stack: Vec<u32>,
    /// The same for stacks whose numbers no stack of the trace has.
    of_unknown: FxHashMap<u32, u32>,
    /// What each had at the last peak that has changed since: bytes and blocks.
    at_peak: Vec<(SiteId, u64, u64)>,
    /// Those that changed since the changes were last taken.
    noted: Vec<Noted>,
    /// By number of the site; empty where nothing is estimated.
    variances: Vec<Variances>,
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
        self.sites.push(Site {
            live_bytes: 0,
            live_blocks: 0,
            allocated_bytes: 0,
            allocated_blocks: 0,
            calls: 0,
            stack,
            next: std::mem::replace(first, id.0 + 1),
            purpose,
            has_changed: false,
            is_noted: false,
        });
        id
    }

    /// The same, if it asked for memory before.
    pub fn find(&self, purpose: Purpose, stack: Option<StackId>) -> Option<SiteId> {
        let number = StackId::to_wire(stack);
        let first = match self.of_stack.get(number as usize) {
            Some(first) => *first,
            None => *self.of_unknown.get(&number)?,
        };
        let mut next = first;
        loop {
            let id = SiteId(next.checked_sub(1)?);
            let site = self.sites.get(id.index())?;
            if site.purpose == purpose {
                return Some(id);
            }
            next = site.next;
        }
    }

    /// Whose memory it is and which call stack asked for it; `None` for a pool.
    pub fn key(&self, id: SiteId) -> Option<TotalsKey> {
        self.sites[id.index()].key()
    }

    /// The same of every site, by its number.
    pub fn keys(&self) -> Vec<Option<TotalsKey>> {
        self.sites.iter().map(Site::key).collect()
    }

    /// The number of a site that a stack may have, without asking what its memory is for.
    #[inline]
    pub(super) fn guess(&self, stack: Option<StackId>) -> usize {
        let first = self.of_stack.get(StackId::to_wire(stack) as usize).copied();
        (first.unwrap_or(0) as usize).saturating_sub(1)
    }

    /// Looks at what a change of a site will look at.
    #[inline]
    pub(super) fn look_at(&self, guessed: usize) -> u64 {
        self.sites.get(guessed).map_or(0, |site| site.live_bytes)
    }

    /// Memory was asked for, by a call that counts as one.
    pub(super) fn called(&mut self, id: SiteId) {
        let site = self.noted(id);
        site.calls = site.calls.wrapping_add(1);
    }

    /// So much memory was asked for.
    pub(super) fn asked(&mut self, id: SiteId, more: Level) {
        let site = &mut self.sites[id.index()];
        site.allocated_bytes = site.allocated_bytes.saturating_add(more.bytes);
        site.allocated_blocks = site.allocated_blocks.saturating_add(more.blocks);
        if more.variance > 0 {
            let allocated = &mut self.variances(id).allocated;
            *allocated = allocated.saturating_add(more.variance);
        }
    }

    /// Memory came to life.
    pub(super) fn came(&mut self, id: SiteId, more: Level) {
        let site = self.will_change(id);
        site.live_bytes = site.live_bytes.saturating_add(more.bytes);
        site.live_blocks = site.live_blocks.saturating_add(more.blocks);
        if more.variance > 0 {
            let live = &mut self.variances(id).live;
            *live = live.saturating_add(more.variance);
        }
    }

    /// Live memory is gone.
    pub(super) fn went(&mut self, id: SiteId, less: Level) {
        let site = self.will_change(id);
        site.live_bytes = site.live_bytes.saturating_sub(less.bytes);
        site.live_blocks = site.live_blocks.saturating_sub(less.blocks);
        if less.variance > 0 {
            let live = &mut self.variances(id).live;
            *live = live.saturating_sub(less.variance);
        }
    }

    /// Nothing is live any more.
    pub(super) fn forget_all(&mut self) {
        for number in 0..self.sites.len() as u32 {
            let live = self.live_of(number as usize);
            if live != Level::default() {
                self.went(SiteId(number), live);
            }
        }
    }

    /// Shows what happened to every site since the last time that this was asked, pools left out.
    pub fn take_changes(&mut self, mut show: impl FnMut(SiteChange)) {
        for Noted { site: id, calls, live_bytes } in self.noted.drain(..) {
            let site = &mut self.sites[id.index()];
            site.is_noted = false;
            if matches!(site.purpose, Purpose::Use(_)) {
                let bytes = (site.live_bytes as i64).wrapping_sub(live_bytes as i64);
                show(SiteChange { site: id, calls: site.calls.wrapping_sub(calls), bytes });
            }
        }
    }

    fn noted(&mut self, id: SiteId) -> &mut Site {
        let site = &mut self.sites[id.index()];
        if !site.is_noted {
            site.is_noted = true;
            self.noted.push(Noted { site: id, calls: site.calls, live_bytes: site.live_bytes });
        }
        site
    }

    fn will_change(&mut self, id: SiteId) -> &mut Site {
        let site = &mut self.sites[id.index()];
        if !site.has_changed {
            site.has_changed = true;
            self.at_peak.push((id, site.live_bytes, site.live_blocks));
            if let Some(variances) = self.variances.get_mut(id.index()) {
                variances.at_peak = variances.live;
            }
        }
        self.noted(id)
    }

    #[cold]
    fn variances(&mut self, id: SiteId) -> &mut Variances {
        let wanted = id.index() + 1;
        let len = self.variances.len().max(wanted);
        self.variances.resize(len, Variances::default());
        &mut self.variances[id.index()]
    }

    /// This is the peak so far.
    pub(super) fn is_peak(&mut self) {
        for (id, ..) in self.at_peak.drain(..) {
            self.sites[id.index()].has_changed = false;
        }
    }

    /// The call stack of every site.
    pub fn stacks(&self) -> impl Iterator<Item = Option<StackId>> + '_ {
        self.sites.iter().map(|site| site.stack)
    }

    /// What every site has live, pools left out.
    pub fn live(&self, domains: &[Domain]) -> StackTotals {
        self.totals(domains, |number| self.live_of(number))
    }

    /// What every site ever asked for, pools and mappings of files left out.
    pub fn allocated(&self, domains: &[Domain]) -> StackTotals {
        self.totals(domains, |number| {
            let site = &self.sites[number];
            let variance = self.variances.get(number).map_or(0, |of| of.allocated);
            Level { bytes: site.allocated_bytes, blocks: site.allocated_blocks, variance }
        })
    }

    /// What every site had live at the last peak, pools left out.
    pub fn at_peak(&self, domains: &[Domain]) -> StackTotals {
        let mut changed = vec![None; self.sites.len()];
        for &(id, bytes, blocks) in &self.at_peak {
            changed[id.index()] = Some((bytes, blocks));
        }
        self.totals(domains, |number| match changed[number] {
            Some((bytes, blocks)) => {
                let variance = self.variances.get(number).map_or(0, |of| of.at_peak);
                Level { bytes, blocks, variance }
            }
            None => self.live_of(number),
        })
    }

    fn live_of(&self, number: usize) -> Level {
        let site = &self.sites[number];
        let variance = self.variances.get(number).map_or(0, |of| of.live);
        Level { bytes: site.live_bytes, blocks: site.live_blocks, variance }
    }

    /// What sites of these domains have that have anything.
    fn totals(&self, domains: &[Domain], of: impl Fn(usize) -> Level) -> StackTotals {
        let known = self.in_order().map(|number| (self.sites[number].key(), of(number)));
        let is_wanted = |(domain, _): &TotalsKey| domains.contains(domain);
        let totals = known.filter_map(|(key, level)| Some((key.filter(is_wanted)?, level)));
        totals.filter(|(_, level)| level.blocks > 0).collect()
    }

    /// All sites, by number of the stack, so that nobody has to sort them: most stacks have one.
    fn in_order(&self) -> impl Iterator<Item = usize> + '_ {
        let next = |number: &usize| self.sites[*number].next.checked_sub(1).map(|at| at as usize);
        let of_stack = self.of_stack.iter().chain(self.of_unknown.values());
        let firsts = of_stack.filter_map(|first| Some(first.checked_sub(1)? as usize));
        firsts.flat_map(move |first| std::iter::successors(Some(first), next))
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

    #[test]
    fn what_is_estimated_has_its_variance_then_and_now() {
        let mut sites = SiteTable::new(0);
        let [one, two] = [1, 2].map(|stack| sites.id(PYTHON, StackId::new(stack)));
        let level = |bytes, variance| Level { bytes, blocks: 1, variance };
        sites.came(one, Level::exact(100, 1));
        sites.came(two, level(200, 9));
        sites.asked(two, level(200, 9));
        sites.is_peak();
        sites.went(two, level(200, 9));
        sites.came(one, level(50, 4));
        let of = |totals: StackTotals| {
            [1, 2].map(|stack| totals.get((Domain::Python, StackId::new(stack))).variance)
        };
        assert_eq!(of(sites.at_peak(&Domain::ALL)), [0, 9]);
        assert_eq!(of(sites.live(&Domain::ALL)), [4, 0]);
        assert_eq!(of(sites.allocated(&Domain::ALL)), [0, 9]);
    }

    #[test]
    fn changes_are_shown_once_and_not_those_of_pools() {
        let mut sites = SiteTable::new(0);
        let [one, two] = [1, 2].map(|stack| sites.id(PYTHON, StackId::new(stack)));
        let pool = sites.id(Purpose::Pool(Domain::Python), None);
        let taken = |sites: &mut SiteTable| {
            let mut all = Vec::new();
            sites.take_changes(|change| all.push((change.site, change.calls, change.bytes)));
            all
        };
        for site in [one, pool, one] {
            sites.came(site, Level::exact(100, 1));
            sites.called(site);
        }
        sites.called(two);
        assert_eq!(taken(&mut sites), [(one, 2, 200), (two, 1, 0)]);
        assert_eq!(taken(&mut sites), []);
        sites.went(one, Level::exact(100, 1));
        sites.is_peak();
        sites.went(one, Level::exact(100, 1));
        assert_eq!(taken(&mut sites), [(one, 0, -200)]);
    }
}
