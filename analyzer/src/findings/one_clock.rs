//! Several processes on one clock: what each had live when.

use crate::model::{MergedTimeLine, Report, Series};

/// Moments of the time line; a chart has a few more pixels.
const MOMENTS: usize = 300;

/// Moments at equal distances, from the beginning of the first trace to the end of the last one.
pub(super) struct OneClock {
    begin: f64,
    step: f64,
}

impl OneClock {
    pub(super) fn of(processes: &[Report]) -> Self {
        let begins = processes.iter().map(|report| report.process.started);
        let begin = begins.fold(f64::INFINITY, f64::min);
        let ends = processes.iter().map(|report| report.process.started + report.process.seconds);
        let end = ends.fold(begin, f64::max);
        let is_time = (end - begin).is_finite();
        Self { begin, step: if is_time { (end - begin) / MOMENTS as f64 } else { 0.0 } }
    }

    fn moments(&self) -> impl Iterator<Item = f64> + use<> {
        let step = self.step;
        let count = if step > 0.0 { MOMENTS } else { 0 };
        (1..=count).map(move |at| at as f64 * step)
    }

    /// What stood in a process's windows, at each moment: 0 before it was traced, and after.
    pub(super) fn seen(&self, report: &Report, values: &[f64]) -> Vec<f64> {
        let ends = &report.time_line.seconds;
        let began = report.process.started - self.begin;
        // The last moment is the end of the longest trace, give or take a rounding.
        let ended = report.process.seconds + self.step / 2.0;
        let mut window = 0;
        let at = |moment: f64| {
            let own = moment - began;
            if own <= 0.0 || own > ended {
                return 0.0;
            }
            while window + 1 < ends.len() && ends[window] < own {
                window += 1;
            }
            values.get(window).copied().unwrap_or(0.0)
        };
        self.moments().map(at).collect()
    }

    /// Live memory of all of them.
    pub(super) fn time_line(&self, processes: &[Report], limit: Option<u64>) -> MergedTimeLine {
        let of_one = |(at, report): (usize, &Report)| {
            let live: Vec<f64> =
                report.time_line.live().iter().map(|bytes| *bytes as f64).collect();
            let bytes = self.seen(report, &live).into_iter().map(|bytes| bytes as u64).collect();
            Series { name: name(processes, at), bytes }
        };
        MergedTimeLine {
            seconds: self.moments().collect(),
            processes: processes.iter().enumerate().map(of_one).collect(),
            limit,
        }
    }
}

/// `pid 12`; a program that took the place of another one in the same process is `pid 12 (2)`.
fn name(processes: &[Report], at: usize) -> String {
    let pid = processes[at].process.pid;
    match processes[..at].iter().filter(|report| report.process.pid == pid).count() {
        0 => format!("pid {pid}"),
        before => format!("pid {pid} ({})", before + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::together::tests::report;

    #[test]
    fn a_process_counts_from_its_beginning_to_its_end() {
        let mut parent = report(7, 100.0, 60.0);
        let mut worker = report(8, 120.0, 30.0);
        let mut other = report(8, 150.0, 10.0);
        for (report, bytes) in [(&mut parent, 5), (&mut worker, 70), (&mut other, 900)] {
            let windows = 10;
            let width = report.process.seconds / windows as f64;
            report.time_line.seconds = (1..=windows).map(|at| at as f64 * width).collect();
            report.time_line.domains = vec![Series {
                name: "malloc".into(),
                bytes: (1..=windows).map(|at| bytes * at).collect(),
            }];
        }
        let all = [parent, worker, other];
        let line = OneClock::of(&all).time_line(&all, None);
        assert_eq!(line.seconds.len(), MOMENTS);
        assert_eq!(line.seconds.last(), Some(&60.0));
        let at = |process: usize, seconds: f64| {
            let moment = line.seconds.iter().position(|at| *at > seconds - 1e-9).unwrap();
            line.processes[process].bytes[moment]
        };
        assert_eq!(
            line.processes.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(),
            ["pid 7", "pid 8", "pid 8 (2)"]
        );
        assert_eq!([at(0, 0.2), at(0, 30.0), at(0, 60.0)], [5, 25, 50]);
        assert_eq!([at(1, 20.0), at(1, 20.2), at(1, 50.0), at(1, 50.4)], [0, 70, 700, 0]);
        assert_eq!([at(2, 50.0), at(2, 60.0)], [0, 9000]);
    }

    #[test]
    fn no_process_and_no_time_are_an_empty_line() {
        assert!(OneClock::of(&[]).time_line(&[], None).seconds.is_empty());
        let all = [report(1, 5.0, 0.0)];
        let line = OneClock::of(&all).time_line(&all, Some(3));
        assert!(line.seconds.is_empty() && line.processes[0].bytes.is_empty());
        assert_eq!(line.limit, Some(3));
    }
}
