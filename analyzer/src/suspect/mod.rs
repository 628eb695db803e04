//! Suspects: the causes of growth, each with its verdict.
//!
//! One cause spreads over hundreds of call stacks, in several domains. They are brought together by
//! the user's own line ([`path`]), cut where one line stands out ([`split`]), and judged as one.

mod containers;
mod describe;
mod path;
mod request_clock;
mod requests;
mod split;
mod start_up;
mod wanted;

use std::cell::OnceCell;
use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};
use tftrace_format::Domain;
use tftrace_format::reader::Trace;

use crate::heap::Level;
use crate::model::{Estimate, Verdict};
use crate::python;
use crate::symbol::{Place, Symbols};
use crate::time_line::{Idle, Series, StackMemory, TimeLine};
use crate::verdict::{Axis, Judgement, LEAST_BYTES, judge};
use path::{PathId, Paths, Step};
use split::split;

use containers::room_made;

pub use containers::growing_containers;
pub use describe::{Context, came_at_once, describe, frames, line_of, more};
pub use path::is_tracing;
pub use requests::count_requests;
pub use start_up::start_up;
pub use wanted::Wanted;

/// Growth counts as recent from this share of the time on: what is a cause is decided by what grew
/// after the beginning.
const RECENT: f64 = 1.0 / 3.0;
/// Lines with less than this share of the most that was live are not listed, unless they leak.
const LEAST_SHARE: f64 = 0.02;
/// Growth of which this share nothing held is called garbage.
const GARBAGE_SHARE: f64 = 0.5;
/// What grows beside so much garbage does so beyond doubt if the lower bound of its rate is this share of it.
const SURE: f64 = 0.5;
/// A container that holds what grows has room for at least so many items for each block of the most frequent size: an item
/// may have two.
const LEAST_ROOM: f64 = 0.5;
/// Lines that do not leak are listed up to this number.
const MOST_HARMLESS: usize = 12;

/// Where a cause is.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    /// A line of the user's.
    Line(&'a Place),
    /// A thread that none of the user's lines started, and the op that it computed.
    Thread(&'a Place, Option<&'a Place>),
    /// An op without anything else.
    Op(&'a Place),
    /// Python's arenas.
    Arenas,
    /// Nowhere in particular, or nothing is known.
    Unknown,
}

/// One cause.
#[derive(Clone, Debug)]
pub struct Cause<'a> {
    /// Where it is.
    pub origin: Origin<'a>,
    /// Its call stacks, sorted.
    pub stacks: Vec<StackMemory>,
    /// Its memory over time.
    pub series: Series,
    /// What that does.
    pub judgement: Judgement,
    /// Bytes allocated after the beginning that are live at the end.
    pub recent: f64,
    /// What of it may be idle in free lists of Python's, if nothing else grows.
    pub idle: Option<Idle>,
}

/// All causes after start-up: those that leak first, by the lower bound of their rate; then by what they hold.
pub fn find<'a>(
    trace: &'a Trace<'a>,
    line: &TimeLine,
    symbols: &'a Symbols,
    axis: &Axis,
    start_up: usize,
) -> Vec<Cause<'a>> {
    let mut paths = Paths::new(trace, symbols);
    let mut stacks: BTreeMap<PathId, Vec<StackMemory>> = BTreeMap::new();
    for memory in line.stacks() {
        let mut path = paths.of(memory.stack, is_arena(trace, symbols, line, memory));
        if let Some(stack) = memory.stack.filter(|_| paths.is_of_thread(path)) {
            path = paths.of_starter(line.before_thread_of(stack)).unwrap_or(path);
        }
        stacks.entry(path).or_default().push(memory);
    }
    let from = start_up + ((line.len() - start_up) as f64 * RECENT) as usize;
    let recent: BTreeMap<PathId, f64> = stacks
        .iter()
        .map(|(&path, own)| (path, own.iter().map(|of| line.kept_since(*of, from)).sum()))
        .collect();
    let mut found: Vec<Cause<'a>> = Vec::new();
    let mut taken: FxHashSet<PathId> = FxHashSet::default();
    let context = Context { trace, symbols, line, axis };
    let room = OnceCell::new();
    let room = || *room.get_or_init(|| room_made(context, start_up));
    let since = Since { line, axis, start_up, from, room: &room };
    for cut in split(&mut paths, &recent, LEAST_BYTES) {
        let cause = cause(&paths, &cut, &stacks, &since);
        // Young memory of what comes and goes is no growth: it is looked at again below.
        if matches!(cause.judgement.verdict, Verdict::Leak | Verdict::Undecided) {
            taken.extend(&cut.paths);
            found.push(cause);
        }
    }
    found.extend(harmless(&mut paths, &stacks, &taken, &since));
    found.sort_by(|a, b| rank(a).cmp(&rank(b)).then(low(b).total_cmp(&low(a))));
    found
}

/// What causes are judged by.
struct Since<'s> {
    line: &'s TimeLine,
    axis: &'s Axis,
    /// The first window after start-up, and that from which on growth is recent.
    start_up: usize,
    from: usize,
    /// For how many items more containers of Python's have room.
    room: &'s dyn Fn() -> f64,
}

/// Leaks first, then what may be one.
fn rank(cause: &Cause<'_>) -> u8 {
    match cause.judgement.verdict {
        Verdict::Leak => 0,
        Verdict::Undecided => 1,
        Verdict::CacheFilling => 2,
        _ => 3,
    }
}

/// What causes of one rank are sorted by.
fn low(cause: &Cause<'_>) -> f64 {
    match &cause.judgement.rate {
        Some(rate) => rate.low,
        None => peak(&cause.series),
    }
}

fn peak(series: &Series) -> f64 {
    series.live.iter().copied().fold(0.0, f64::max)
}

/// The lines with the most memory among those that do not leak.
fn harmless<'a>(
    paths: &mut Paths<'a>,
    stacks: &BTreeMap<PathId, Vec<StackMemory>>,
    taken: &FxHashSet<PathId>,
    since: &Since<'_>,
) -> Vec<Cause<'a>> {
    let mut lines: FxHashMap<PathId, split::Cause> = FxHashMap::default();
    for &path in stacks.keys().filter(|path| !taken.contains(path)) {
        let at = paths.line(path);
        let cut = lines.entry(at).or_insert_with(|| split::Cause { at, paths: Vec::new() });
        cut.paths.push(path);
    }
    let causes = lines.values().map(|cut| cause(paths, cut, stacks, since));
    let mut causes: Vec<Cause<'a>> = causes.collect();
    let line = since.line;
    let least = LEAST_SHARE * peak(&line.series(line.stacks()));
    causes.retain(|cause| peak(&cause.series) >= least.max(LEAST_BYTES));
    causes.retain(|cause| cause.judgement.verdict != Verdict::Steady);
    causes.sort_by(|a, b| peak(&b.series).total_cmp(&peak(&a.series)));
    causes.truncate(MOST_HARMLESS);
    causes
}

fn cause<'a>(
    paths: &Paths<'a>,
    cut: &split::Cause,
    stacks: &BTreeMap<PathId, Vec<StackMemory>>,
    since: &Since<'_>,
) -> Cause<'a> {
    let &Since { line, axis, start_up, from, room } = since;
    let mut own: Vec<StackMemory> =
        cut.paths.iter().filter_map(|path| stacks.get(path)).flatten().copied().collect();
    own.sort_unstable();
    let series = line.series(own.iter().copied());
    let mut judgement = judged(&series, axis, start_up);
    let recent = own.iter().map(|of| line.kept_since(*of, from)).sum();
    let idle = Some(judgement.verdict)
        .filter(|verdict| is_growth(*verdict))
        .map(|_| line.idle_since(&own, start_up))
        .filter(|idle| nothing_else_grows(&series, idle, axis, start_up, room));
    if idle.is_some() {
        let verdict = Verdict::CacheFilling;
        judgement = Judgement { verdict, rate: None, windows: 0, ..judgement };
    }
    Cause { origin: origin(paths, cut.at), stacks: own, series, judgement, recent, idle }
}

/// Whether what grows may be idle in free lists of Python's, and nothing is seen that would hold it: no container became
/// larger by as much as that many items need.
fn nothing_else_grows(
    series: &Series,
    idle: &Idle,
    axis: &Axis,
    start_up: usize,
    room: impl Fn() -> f64,
) -> bool {
    let (since, axis) = (series.since(start_up), axis.since(start_up));
    let idle = idle.since(start_up);
    idle.most > 0.0
        && !is_growth(judge(&since.without_idle(&idle), &axis).verdict)
        && room() < LEAST_ROOM * idle.most
}

/// Judges what happened after start-up.
///
/// What waits for the cycle collector is not lost: growth that it alone makes is a sawtooth whose
/// tooth is not over.
fn judged(series: &Series, axis: &Axis, start_up: usize) -> Judgement {
    let (since, axis) = (series.since(start_up), axis.since(start_up));
    let mut judgement = judge(&since, &axis);
    let garbage: f64 = since.garbage.iter().sum();
    if is_growth(judgement.verdict) && garbage > 0.0 {
        let held = judge(&since.without_garbage(), &axis);
        // Of what garbage refers to a little outlives it, and a little garbage is not known as such.
        let is_rest = garbage >= GARBAGE_SHARE * since.held() && !is_sure(&held);
        judgement = match is_rest {
            true => Judgement { verdict: Verdict::Sawtooth, rate: None, windows: 0, ..judgement },
            false => held,
        };
    }
    if judgement.verdict == Verdict::Steady && since.before >= LEAST_BYTES {
        judgement.verdict = Verdict::WarmUp;
    }
    judgement.warm_up += start_up;
    judgement
}

/// Whether something grows beyond doubt: at a rate whose lower bound is near it.
fn is_sure(held: &Judgement) -> bool {
    let is_sure = |rate: &Estimate| rate.low >= SURE * rate.estimate;
    is_growth(held.verdict) && held.rate.as_ref().is_none_or(is_sure)
}

fn is_growth(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Leak | Verdict::Undecided | Verdict::CacheFilling)
}

fn origin<'a>(paths: &Paths<'a>, at: PathId) -> Origin<'a> {
    match paths.step(at) {
        Some(Step::Line(place)) => Origin::Line(place),
        Some(Step::Thread(place)) => Origin::Thread(place, None),
        Some(Step::Op(op)) => match paths.step(paths.parent(at)) {
            Some(Step::Thread(place)) => Origin::Thread(place, Some(op)),
            _ => Origin::Op(op),
        },
        Some(Step::Arenas) => Origin::Arenas,
        Some(Step::NoStack) | None => Origin::Unknown,
    }
}

/// Whether these are arenas of Python that are not known as pools.
fn is_arena(trace: &Trace<'_>, symbols: &Symbols, line: &TimeLine, memory: StackMemory) -> bool {
    let asked_by = memory.stack.and_then(|stack| trace.node(stack)).map(|node| node.frame);
    let Some(asked_by) = asked_by.filter(|_| memory.domain == Domain::Mmap) else { return false };
    let level: Level = line.held_by(memory);
    python::are_arenas(symbols.places(asked_by), memory.domain, level)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUESTS: usize = 160;

    /// What requests keep, by their number, and beside it about so much garbage each.
    fn series(garbage: f64, kept: impl Fn(usize) -> f64) -> Series {
        let mut series = Series::new(REQUESTS);
        let mut live = 0.0;
        for at in 0..REQUESTS {
            series.garbage[at] = garbage * (1.0 + (at * 7 % 11) as f64 / 10.0);
            series.garbage_blocks[at] = if garbage > 0.0 { 100.0 } else { 0.0 };
            series.kept[at] = series.garbage[at] + kept(at);
            series.kept_blocks[at] = series.garbage_blocks[at] + 1.0;
            live += series.kept[at];
            series.live[at] = live;
        }
        series
    }

    #[test]
    fn what_grows_beside_garbage_is_a_leak_if_there_is_no_doubt() {
        let axis = Axis { units: vec![1.0; REQUESTS] };
        let leaks = |at: usize| 600.0 + 50.0 * (at * 5 % 7) as f64;
        let leak = judged(&series(40_000.0, leaks), &axis, 0);
        assert_eq!(leak.verdict, Verdict::Leak);
        assert!(leak.rate.is_some_and(|rate| (700.0..800.0).contains(&rate.estimate)), "{leak:?}");
        let doubtful = |at: usize| if at % 23 == 11 { 15_000.0 } else { 100.0 };
        let rate = judged(&series(0.0, doubtful), &axis, 0).rate;
        assert!(rate.is_some_and(|rate| rate.low < SURE * rate.estimate), "{rate:?}");
        assert_eq!(judged(&series(40_000.0, doubtful), &axis, 0).verdict, Verdict::Sawtooth);
    }
}
