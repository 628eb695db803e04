//! Works on many things on several threads, and gives the results in the order of the things.
//!
//! Never holds more than a few results that nobody took yet, and does without threads where the
//! system has no more, or has one processor.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Builder, Scope, available_parallelism, scope};

/// More threads than this do not make reading faster: what follows it keeps up with no more.
const MOST_THREADS: usize = 8;
/// Results that a thread may have made in advance.
const IN_ADVANCE: usize = 8;

/// How many threads may work beside the calling one, if that is as busy as they are.
pub(super) fn helpers() -> usize {
    available_parallelism().map_or(0, |processors| processors.get() - 1).min(MOST_THREADS)
}

/// Shows `consume` the result of `work` for every thing, in order; made by so many other threads, or
/// by this one if there are none.
pub(super) fn in_order<T: Sync, R: Send, O>(
    things: &[T],
    threads: usize,
    work: impl Fn(&T) -> R + Sync,
    consume: impl FnOnce(&mut dyn Iterator<Item = R>) -> O,
) -> O {
    scope(|scope| match start(scope, things, threads, &work) {
        Some(results) => consume(&mut Results { results, next: 0 }),
        None => consume(&mut things.iter().map(&work)),
    })
}

/// Starts the threads; `None` if there are none to be had. Who has started already, ends: nobody
/// takes what it makes.
fn start<'scope, 'env, T: Sync, R: Send + 'env>(
    scope: &'scope Scope<'scope, 'env>,
    things: &'env [T],
    threads: usize,
    work: &'env (impl Fn(&T) -> R + Sync),
) -> Option<Vec<Receiver<R>>> {
    let threads = threads.min(things.len());
    let started = (0..threads).map(|number| {
        let (sender, receiver) = sync_channel(IN_ADVANCE);
        // Every thread takes every n-th thing: so their results are in order without being sorted.
        let own = things.iter().skip(number).step_by(threads);
        let run = move || {
            for thing in own {
                // Nobody listens any more: the rest is not wanted.
                if sender.send(work(thing)).is_err() {
                    return;
                }
            }
        };
        Builder::new().name("tftrace-read".into()).spawn_scoped(scope, run).ok()?;
        Some(receiver)
    });
    started.collect::<Option<Vec<_>>>().filter(|started| !started.is_empty())
}

/// What the threads made, in turn.
struct Results<R> {
    results: Vec<Receiver<R>>,
    next: usize,
}

impl<R> Iterator for Results<R> {
    type Item = R;

    fn next(&mut self) -> Option<R> {
        // A thread that has no more has ended: so have those after it.
        let result = self.results[self.next].recv().ok()?;
        self.next = (self.next + 1) % self.results.len();
        Some(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order_however_many_threads_there_are() {
        let things: Vec<u64> = (0..1000).collect();
        let squares: Vec<u64> = things.iter().map(|thing| thing * thing).collect();
        for threads in [0, 1, 2, 7, 2000] {
            let work = |thing: &u64| thing * thing;
            let made = in_order(&things, threads, work, |results| results.collect::<Vec<_>>());
            assert_eq!(made, squares, "{threads} threads");
        }
        assert_eq!(in_order(&[0u8; 0], 3, |_| (), |results| results.count()), 0);
    }

    #[test]
    fn who_stops_listening_is_not_waited_for() {
        let things = [1u64; 1000];
        let first = in_order(&things, 2, |thing| *thing, |results| results.next());
        assert_eq!(first, Some(1));
    }
}
