//! Reports made by hand, of every kind that the page has to show.

use tftrace_analyzer::model::{
    Curve, Estimate, Frame, FrameKind, Growth, Line, Lost, Owner, Pattern, Process, Reconciliation,
    Report, Requests, SCHEMA, Series, Suppressed, Suspect, TimeLine, UsedRule, Verdict,
};

pub(crate) const WINDOWS: usize = 120;
const MB: f64 = 1e6;

/// What is hostile in a name: it ends a script, an attribute, a line, or turns the text around.
pub(crate) const HOSTILE: &str = "</script><script>document.title='broken'</script><img src=x \
    onerror=\"document.title='broken'\">'\"`&amp;\u{2028}\u{202e}cba\u{1b}[31m\u{0}; 12";

fn estimate(estimate: f64, low: f64, high: f64) -> Option<Estimate> {
    Some(Estimate { estimate, low, high })
}

fn frame(kind: FrameKind, function: &str, place: &str, framework: bool) -> Frame {
    let (file, line) = match place.split_once(':') {
        Some((file, line)) => (Some(file.to_owned()), line.parse().ok()),
        None => (None, None),
    };
    let module = (kind == FrameKind::Native).then(|| "libtensorflow_cc.so.2".to_owned());
    Frame { kind, function: function.to_owned(), file, line, module, framework }
}

fn stack() -> Vec<Frame> {
    use FrameKind::{Native, Op, Python, ScheduledBy};
    let mut stack = vec![
        frame(Python, "Thread._bootstrap", "/usr/lib/python3.11/threading.py:995", true),
        frame(Python, "worker", "/srv/app/serve.py:112", false),
        frame(Python, "handle_request", "/srv/app/serve.py:71", false),
        frame(
            Python,
            "Function.__call__",
            "/v/site-packages/tensorflow/python/eager/def_function.py:833",
            true,
        ),
    ];
    for at in 0..23 {
        stack.push(frame(Native, &format!("tensorflow::Executor::Process{at}"), "", true));
    }
    stack.push(frame(ScheduledBy, "scheduled by", "", true));
    stack.push(frame(Native, "tensorflow::ThreadPool::Run", "", true));
    stack.push(frame(Op, "op MatMul (output, float32)", "", true));
    stack
}

fn held(from: f64, to: f64, wave: f64) -> Vec<f64> {
    (0..WINDOWS)
        .map(|at| {
            let part = at as f64 / (WINDOWS - 1) as f64;
            from + (to - from) * part + wave * (at as f64 * 0.9).sin().abs()
        })
        .collect()
}

fn curve(held: Vec<f64>, warm_up: usize) -> Curve {
    let (first, last) = (held[warm_up], held[held.len() - 1]);
    let line = |at: usize, shift: f64| {
        let part = (at as f64 - warm_up as f64) / (held.len() - 1 - warm_up) as f64;
        (at >= warm_up).then_some(first + (last - first) * part + shift * (0.3 + part))
    };
    let band = (last - first).abs() * 0.05 + last * 0.01;
    let list = |shift: f64| (0..held.len()).map(|at| line(at, shift)).collect();
    Curve { fit: list(0.0), low: list(-band), high: list(band), held }
}

/// A suspect that looks like one of a real service.
pub(crate) fn suspect(
    rank: usize,
    verdict: Verdict,
    function: &str,
    domain: &str,
    held: Vec<f64>,
) -> Suspect {
    let last = held[held.len() - 1];
    let rate = (last - held[20]) / 1000.0;
    Suspect {
        rank,
        verdict,
        name: function.to_owned(),
        your_line: Some(Line {
            file: "/srv/app/serve.py".into(),
            line: 71,
            function: function.into(),
        }),
        op: (domain == "tensorflow").then(|| "MatMul (output, float32)".to_owned()),
        domain: domain.to_owned(),
        thread: None,
        bytes_per_request: estimate(rate, rate - rate.abs() * 0.06, rate + rate.abs() * 0.07),
        bytes_per_second: estimate(
            rate * 8.0,
            rate * 8.0 - rate.abs() * 0.5,
            rate * 8.0 + rate.abs() * 0.6,
        ),
        windows: 100,
        share_of_growth: 0.81 / rank as f64,
        held_bytes: last as u64,
        held_bytes_error: 0.0,
        held_blocks: 1200,
        stack: stack(),
        curve: curve(held, 20),
        patterns: Vec::new(),
        needed: None,
        suppressed_by: None,
    }
}

fn series(name: &str, from: f64, to: f64) -> Series {
    let bytes = (0..WINDOWS).map(|at| {
        let warm = 1.0 - (-(at as f64) / 6.0).exp();
        (from * warm + (to - from) * at as f64 / WINDOWS as f64) as u64
    });
    Series { name: name.to_owned(), bytes: bytes.collect() }
}

/// A service that leaks 118 MB in 1,200 requests.
pub(crate) fn leak() -> Report {
    let mut suspects = vec![
        suspect(1, Verdict::Leak, "handle_request", "malloc", held(2.0 * MB, 118.0 * MB, 1.0 * MB)),
        suspect(2, Verdict::Leak, "keep_result", "tensorflow", held(1.0 * MB, 38.0 * MB, 0.4 * MB)),
        suspect(
            3,
            Verdict::CacheFilling,
            "Tokenizer.lookup",
            "python",
            held(4.0 * MB, 22.0 * MB, 0.2 * MB),
        ),
        suspect(
            4,
            Verdict::Sawtooth,
            "Batcher.flush",
            "python",
            held(3.0 * MB, 3.5 * MB, 9.0 * MB),
        ),
        suspect(5, Verdict::Undecided, "write_log", "malloc", held(0.1 * MB, 0.4 * MB, 0.3 * MB)),
        suspect(6, Verdict::Steady, "load_model", "tensorflow", held(30.0 * MB, 30.0 * MB, 0.0)),
    ];
    suspects[0].patterns.push(Pattern {
        id: "results-kept",
        sentence: "Results are kept in a list that lives as long as the module.".into(),
        remedy: "Give the list a bound, or keep only what later requests need.".into(),
        evidence: vec!["1,200 lists of one list object grow by one entry per request".into()],
    });
    suspects[4].needed = Some("trace 400 more requests".into());
    suspects[5].your_line = None;
    suspects[5].thread = Some("tf_inter_op".into());
    suspects[5].suppressed_by = Some("leak:load_model".into());
    Report {
        schema: SCHEMA,
        verdict: Verdict::Leak,
        sentence: "handle_request leaks 96.7 kB with every request, and has since request 200.".into(),
        action: "Look at serve.py:71: the results of preprocess() are kept in a list that nobody empties.".into(),
        growth: Growth {
            bytes_per_request: estimate(129_400.0, 124_800.0, 134_100.0),
            bytes_per_second: estimate(1_000_000.0, 990_000.0, 1_100_000.0),
            windows: 100,
            limit: Some(1_500_000_000),
            seconds_to_limit: Some(11_340.0),
        },
        requests: Requests { count: Some(1200), source: "calls of TFE_Execute from handle_request".into() },
        suspects,
        time_line: TimeLine {
            seconds: (1..=WINDOWS).map(|at| at as f64 * 1.25).collect(),
            requests: (1..=WINDOWS).map(|at| at as f64 * 10.0).collect(),
            domains: vec![
                series("malloc", 140.0 * MB, 262.0 * MB),
                series("mmap", 41.0 * MB, 41.0 * MB),
                series("python", 140.0 * MB, 158.0 * MB),
                series("tensorflow", 60.0 * MB, 102.0 * MB),
            ],
            rss_anonymous: (0..WINDOWS).map(|at| (at > 2).then(|| 480_000_000 + at as u64 * 1_600_000)).collect(),
            rss: (0..WINDOWS).map(|at| (at > 2).then(|| 610_000_000 + at as u64 * 1_600_000)).collect(),
            limit: Some(1_500_000_000),
            warm_up_seconds: Some(25.0),
            warm_up_requests: Some(200.0),
        },
        reconciliation: Reconciliation {
            seconds: Some(149.0),
            rss_anonymous: Some(669_000_000),
            explained: Some(0.964),
            unexplained: Some(24_000_000),
            not_resident: 8_000_000,
            owners: vec![
                Owner { name: "live blocks of malloc".into(), bytes: 262_000_000, bytes_error: 0.0 },
                Owner { name: "live blocks of Python".into(), bytes: 158_000_000, bytes_error: 0.0 },
                Owner { name: "tensors".into(), bytes: 102_000_000, bytes_error: 0.0 },
                Owner { name: "freed, but kept by malloc".into(), bytes: 61_000_000, bytes_error: 0.0 },
                Owner { name: "mapped".into(), bytes: 41_000_000, bytes_error: 0.0 },
                Owner { name: "stacks of threads".into(), bytes: 9_000_000, bytes_error: 0.0 },
                Owner { name: "the tracer".into(), bytes: 12_000_000, bytes_error: 0.0 },
            ],
        },
        gpu: None,
        lost: Lost::default(),
        suppressions: Suppressed::default(),
        process: Process {
            pid: 4711,
            command: ["python", "examples/serve.py", "--requests", "1200"].map(String::from).to_vec(),
            executable: "/usr/bin/python3.11".into(),
            started: 1_790_000_000.0,
            seconds: 150.0,
            trace: "/srv/app/trace.bin".into(),
            trace_bytes: 180_300_000,
            events: 12_345_678,
            sample_period: None,
            compacted: None,
            versions: [("Python", "3.11.7"), ("TensorFlow", "2.21.0"), ("tftrace", "0.1.0")]
                .map(|(name, version)| (name.to_owned(), version.to_owned()))
                .to_vec(),
            children: Vec::new(),
        },
    }
}

/// The parent of prefork workers, and three of these: two leak at the same line, one of them faster.
pub(crate) fn prefork() -> Vec<Report> {
    let mut parent = steady();
    parent.requests = Requests { count: None, source: "seconds".into() };
    parent.suspects.clear();
    parent.time_line.requests.clear();
    parent.time_line.domains = vec![series("malloc", 30.0 * MB, 30.0 * MB)];
    let mut slow = leak();
    slow.suspects.truncate(2);
    let half = |rate: &mut Option<Estimate>| {
        *rate = rate.map(|it| Estimate {
            estimate: it.estimate / 2.0,
            low: it.low / 2.0,
            high: it.high / 2.0,
        });
    };
    half(&mut slow.growth.bytes_per_request);
    half(&mut slow.growth.bytes_per_second);
    half(&mut slow.suspects[0].bytes_per_request);
    half(&mut slow.suspects[0].bytes_per_second);
    slow.suspects[1].verdict = Verdict::CacheFilling;
    let mut all = vec![parent, steady(), leak(), slow];
    for (at, report) in all.iter_mut().enumerate() {
        report.process.pid = 4711 + at as u32;
        report.process.started += at as f64 * 4.0;
        report.process.trace = match at {
            0 => "/srv/app/trace.bin".into(),
            _ => format!("/srv/app/trace.{}.bin", report.process.pid),
        };
    }
    all
}

/// A service that does not grow.
pub(crate) fn steady() -> Report {
    let mut report = leak();
    report.verdict = Verdict::Steady;
    report.sentence =
        "Memory does not grow: 1,200 requests changed it by less than 40 bytes each.".into();
    report.action = "Nothing to do.".into();
    report.growth.bytes_per_request = estimate(-3.0, -38.0, 31.0);
    report.growth.seconds_to_limit = None;
    report.suspects.retain(|suspect| suspect.verdict == Verdict::Steady);
    for series in &mut report.time_line.domains {
        let settled = series.bytes[20];
        series.bytes.iter_mut().skip(20).for_each(|bytes| *bytes = settled);
    }
    report.time_line.rss = (0..WINDOWS).map(|_| Some(520_000_000)).collect();
    report.time_line.rss_anonymous.clear();
    report
}

/// A trace too short to say anything, with nothing read from the kernel and no requests.
pub(crate) fn undecided() -> Report {
    let mut report = leak();
    report.verdict = Verdict::Undecided;
    report.sentence = "Four seconds are too short to tell warm-up from a leak.".into();
    report.action = "Trace 400 more requests.".into();
    report.growth = Growth::default();
    report.requests = Requests { count: None, source: "seconds: no requests were seen".into() };
    report.suspects.clear();
    report.time_line = TimeLine::default();
    report.reconciliation = Reconciliation::default();
    report.lost = Lost { anything: true, events: 1234, notes: vec!["the disk was full".into()] };
    report
}

/// Growth in seconds, no RSS, no limit.
pub(crate) fn no_requests() -> Report {
    let mut report = leak();
    report.sentence = "handle_request leaks about 1 MB every second.".into();
    report.requests = Requests { count: None, source: "seconds: no requests were seen".into() };
    report.growth.bytes_per_request = None;
    report.growth.limit = None;
    report.growth.seconds_to_limit = None;
    report.time_line.requests.clear();
    report.time_line.rss.clear();
    report.time_line.rss_anonymous.clear();
    report.time_line.limit = None;
    report.time_line.warm_up_requests = None;
    report.suspects.iter_mut().for_each(|suspect| suspect.bytes_per_request = None);
    report
}

/// Every text that can come from a program is [`HOSTILE`].
pub(crate) fn hostile() -> Report {
    let mut report = leak();
    let bad = || HOSTILE.to_owned();
    report.sentence = bad();
    report.action = bad();
    report.requests.source = bad();
    for suspect in &mut report.suspects {
        suspect.name = bad();
        suspect.your_line = Some(Line { file: bad(), line: 3, function: bad() });
        suspect.op = Some(bad());
        suspect.thread = Some(bad());
        suspect.needed = Some(bad());
        suspect.suppressed_by = Some(bad());
        for frame in &mut suspect.stack {
            frame.function = bad();
            frame.file = Some(bad());
            frame.module = Some(bad());
        }
        suspect.patterns =
            vec![Pattern { id: "x", sentence: bad(), remedy: bad(), evidence: vec![bad()] }];
    }
    report.time_line.domains[0].name = bad();
    report.reconciliation.owners[0].name = bad();
    report.lost = Lost { anything: true, events: 1, notes: vec![bad()] };
    report.process.command = vec![bad(), bad()];
    report.process.executable = bad();
    report.process.trace = bad();
    report.process.children = vec![bad()];
    report.suppressions.used = vec![UsedRule { rule: bad(), file: Some(bad()), suspects: 1 }];
    report.suppressions.stale = vec![bad()];
    report.process.versions = vec![(bad(), bad())];
    report
}

/// Far more of everything than a page can hold, and every text as long as a book.
pub(crate) fn huge() -> Report {
    let mut report = leak();
    let long = "tensorflow::Eigen<\u{1f}<>".repeat(400);
    let windows = 20_000;
    report.sentence = long.clone();
    report.action = long.clone();
    report.process.command = vec![long.clone(); 5000];
    report.process.versions = vec![(long.clone(), long.clone()); 500];
    report.lost = Lost { anything: true, events: 1, notes: vec![long.clone(); 5000] };
    report.suppressions.stale = vec![long.clone(); 5000];
    report.process.children = vec![long.clone(); 5000];
    report.reconciliation.owners =
        vec![Owner { name: long.clone(), bytes: 1, bytes_error: 0.0 }; 500];
    let line = &mut report.time_line;
    line.seconds = (0..windows).map(|at| at as f64).collect();
    line.requests = (0..windows).map(|at| at as f64 * 3.0).collect();
    line.rss = vec![Some(u64::MAX); windows];
    line.rss_anonymous = vec![Some(1); windows];
    line.domains = vec![Series { name: long.clone(), bytes: vec![123_456_789_012; windows] }; 40];
    let mut suspect = report.suspects[0].clone();
    suspect.curve.held = (0..windows).map(|at| at as f64 * 1234.567).collect();
    suspect.curve.fit = vec![Some(0.1); windows];
    suspect.stack = (0..300).map(|_| frame(FrameKind::Native, &long, "", true)).collect();
    suspect.name = long;
    report.suspects = (1..=300).map(|rank| Suspect { rank, ..suspect.clone() }).collect();
    report
}
