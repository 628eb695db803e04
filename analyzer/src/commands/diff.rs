//! `diff`: what grew between two traces, by call stacks through the same functions.

use std::cmp::Reverse;
use std::io::Write;
use std::path::Path;

use anstyle::Style;
use rustc_hash::FxHashMap;
use sha2::{Digest, Sha256};
use tftrace_format::reader::Trace;
use tftrace_format::{Domain, StackId};

use crate::Error;
use crate::cli::{DiffArgs, Metric, ViewArgs};
use crate::heap::{HOST, Level, measure};
use crate::report::call_stack;
use crate::report::numbers::{bytes, count, counted, duration, plain, signed_bytes};
use crate::report::text::seconds;
use crate::stack::{Row, frames_of, group, heaviest, rows};
use crate::symbol::{Place, Symbols, resolve};

const BOLD: Style = Style::new().bold();

/// Call stacks are the same if these are: whose memory, and the functions that the view shows.
///
/// A hash and not the names: a trace has a hundred thousand stacks of a hundred functions.
type Key = (Domain, [u8; 32]);

/// One trace, with its stacks by what they have in common.
struct Side<'a> {
    trace: &'a Trace<'a>,
    symbols: Symbols,
    groups: FxHashMap<Key, (Level, Option<StackId>)>,
    sum: Level,
    seconds: f64,
}

impl<'a> Side<'a> {
    fn new(trace: &'a Trace<'a>, metric: Metric, view: ViewArgs) -> Self {
        let measured = measure(trace, metric, &HOST);
        let stacks = measured.totals.iter().map(|((_, stack), _)| stack);
        let symbols = resolve(trace, &frames_of(trace, stacks));
        let mut groups: FxHashMap<Key, (Level, Option<StackId>)> = FxHashMap::default();
        for ranked in heaviest(trace, group(trace, &symbols, &measured.totals, view), usize::MAX) {
            let functions = functions(trace, &symbols, ranked.heaviest, ranked.arenas, view);
            let (level, _) = groups
                .entry((ranked.domain, functions))
                .or_insert_with(|| (Level::default(), ranked.heaviest));
            level.add_all(ranked.level);
        }
        let seconds = seconds(trace, &measured.replay);
        Self { trace, symbols, groups, sum: measured.totals.sum(), seconds }
    }

    fn level(&self, key: &Key) -> Level {
        self.groups.get(key).map(|(level, _)| *level).unwrap_or_default()
    }
}

/// The functions of a stack as a hash. Addresses are not in it: they differ from run to run.
fn functions(
    trace: &Trace<'_>,
    symbols: &Symbols,
    stack: Option<StackId>,
    arenas: bool,
    view: ViewArgs,
) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut add = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    if arenas {
        // Who maps an arena is not who fills it: all of them are one.
        add("arenas");
    } else if let Some(stack) = stack {
        let places: Vec<&Place> =
            trace.frames(stack).flat_map(|frame| symbols.places(frame)).collect();
        for row in rows(&places, view) {
            match row {
                Row::Shown(place) => {
                    add(place.module.as_deref().unwrap_or_default());
                    add(&place.function);
                }
                Row::Run(name, _) => add(name),
            }
        }
    }
    hash.finalize().into()
}

/// Writes what changed from one trace to another, the largest growth first.
pub fn write(
    before: (&Trace<'_>, &Path),
    after: (&Trace<'_>, &Path),
    asked: &DiffArgs,
    out: &mut dyn Write,
) -> Result<Vec<String>, Error> {
    let (old, new) = (
        Side::new(before.0, asked.metric, asked.view),
        Side::new(after.0, asked.metric, asked.view),
    );
    for (word, side, path) in [("before:", &old, before.1), ("after:", &new, after.1)] {
        writeln!(
            out,
            "{word:<8}{}: {} in {}, {}",
            plain(&path.display().to_string()),
            bytes(side.sum.bytes),
            counted(side.sum.blocks, "block"),
            duration(side.seconds),
        )?;
    }
    let mut keys: Vec<&Key> = old.groups.keys().chain(new.groups.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut changes: Vec<(i128, &Key)> = keys
        .into_iter()
        .map(|key| (growth(new.level(key).bytes, old.level(key).bytes), key))
        .filter(|(growth, _)| *growth != 0)
        .collect();
    changes.sort_by_key(|(growth, key)| (Reverse(*growth), **key));
    let grown = changes.partition_point(|(growth, _)| *growth > 0);
    let sum = |changes: &[(i128, &Key)]| changes.iter().map(|(growth, _)| growth).sum::<i128>();
    writeln!(
        out,
        "{BOLD}{}: {}{BOLD:#} ({} where it grew, {} where it shrank)",
        asked.metric.bytes_in_words(),
        signed_bytes(growth(new.sum.bytes, old.sum.bytes)),
        signed_bytes(sum(&changes[..grown])),
        signed_bytes(sum(&changes[grown..])),
    )?;
    for (rank, (growth, key)) in changes[..grown].iter().take(asked.top).enumerate() {
        write_entry(rank + 1, *growth, key, &old, &new, asked, out)?;
    }
    if let Some(more) = grown.checked_sub(asked.top).filter(|more| *more > 0) {
        let rest = sum(&changes[asked.top..grown]);
        writeln!(
            out,
            "\n{}, together {}; more entries: --top N",
            if more == 1 {
                "1 more entry".to_owned()
            } else {
                format!("{} more entries", count(more as u64))
            },
            signed_bytes(rest)
        )?;
    }
    Ok([old.symbols.warnings(), new.symbols.warnings()].concat())
}

fn growth(new: u64, old: u64) -> i128 {
    i128::from(new) - i128::from(old)
}

fn write_entry(
    rank: usize,
    growth: i128,
    key: &Key,
    old: &Side<'_>,
    new: &Side<'_>,
    asked: &DiffArgs,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let (from, to) = (old.level(key), new.level(key));
    writeln!(
        out,
        "\n{BOLD}{rank:>3}. {}{BOLD:#}, from {} in {} to {} in {}  ({})",
        signed_bytes(growth),
        bytes(from.bytes),
        counted(from.blocks, "block"),
        bytes(to.bytes),
        counted(to.blocks, "block"),
        key.0.name(),
    )?;
    // What grew is in the newer trace.
    let stack = new.groups.get(key).and_then(|(_, stack)| *stack);
    let user_line = call_stack::user_line(new.trace, &new.symbols, stack);
    writeln!(
        out,
        "       your code: {}",
        user_line.as_deref().unwrap_or("not on this call stack")
    )?;
    for line in call_stack::lines(new.trace, &new.symbols, stack, asked.view, asked.depth) {
        writeln!(out, "       {line}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::view_tests::MIXED;
    use tftrace_format::builder::{Packing, TraceBuilder};
    use tftrace_format::{Event, Frame, Ticks};

    /// A trace of these stacks with so many blocks of so many bytes; other stacks are numbered first.
    fn trace(others: u64, blocks: &[(&[u64], u64, u64)]) -> Vec<u8> {
        let mut builder = TraceBuilder::new();
        for other in 0..others {
            builder.stack(&[Frame::Raw { address: 0x9000 + other }]);
        }
        let mut address = 0;
        for (frames, count, size) in blocks {
            let frames: Vec<Frame> = frames.iter().map(|&address| Frame::Raw { address }).collect();
            let stack = Some(builder.stack(&frames));
            for _ in 0..*count {
                address += 1 << 20;
                let (time, domain) = (Ticks(address), Domain::Malloc);
                let event = Event::Allocated {
                    time,
                    domain,
                    address,
                    size: *size,
                    stack,
                    file_backed: false,
                };
                builder.event(0, event);
            }
        }
        builder.build(Packing::Chunked)
    }

    #[test]
    fn stacks_are_compared_by_their_functions_and_growth_comes_first() {
        let steady: &[u64] = &[1, 2];
        let before = trace(0, &[(steady, 2, 500), (&[1, 3], 3, 10_001), (&[1, 4], 1, 700)]);
        let after = trace(7, &[(&[1, 5], 1, 20_001), (&[1, 3], 5, 10_001), (steady, 2, 500)]);
        let asked = |top| DiffArgs {
            before: "a".into(),
            after: "b".into(),
            metric: Metric::Unfreed,
            top,
            depth: 8,
            view: MIXED,
        };
        let text = |top| {
            let (old, new) = (Trace::open(&before).unwrap(), Trace::open(&after).unwrap());
            let mut out = Vec::new();
            let sides = ((&old, Path::new("a.bin")), (&new, Path::new("b.bin")));
            write(sides.0, sides.1, &asked(top), &mut out).unwrap();
            anstream::adapter::strip_str(&String::from_utf8(out).unwrap()).to_string()
        };
        let all = text(9);
        assert!(
            all.contains(
                "unfreed bytes: +39.3 kB (+40.0 kB where it grew, -700 B where it shrank)"
            ),
            "{all}"
        );
        let second = "  2. +20.0 kB, from 0 B in 0 blocks to 20.0 kB in 1 block  (malloc)";
        // 20,002 bytes and 20,001.
        let first = "  1. +20.0 kB, from 30.0 kB in 3 blocks to 50.0 kB in 5 blocks  (malloc)";
        assert!(all.contains(first) && all.contains(second), "{all}");
        assert!(!all.contains("  3."), "{all}");
        assert!(text(1).contains("1 more entry, together +20.0 kB"), "{}", text(1));
    }
}
