//! Flame graphs made by hand.

use tftrace_analyzer::page::{FlameGraph, FrameClass, GraphFrame, NodeWeights, Site, Step};
use tftrace_format::Domain;

use crate::reports::HOSTILE;

fn frame(class: FrameClass, function: &str, location: &str) -> GraphFrame {
    let location = (!location.is_empty()).then(|| location.to_owned());
    GraphFrame { class, function: function.to_owned(), location, module: Some("libx.so".into()) }
}

/// Numbers that look random and are the same in every run.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new() -> Self {
        Self(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A service's stacks; every name that a program can choose is as `name` makes it.
pub(crate) fn service(name: impl Fn(&str) -> String) -> FlameGraph {
    let mut graph = FlameGraph { has_growth: true, ..FlameGraph::default() };
    let mut random = Numbers::new();
    let mut id = |class, function: &str, location: &str| {
        Step::Frame(graph.frames.id(frame(class, &name(function), &name(location))))
    };
    let start = id(FrameClass::Python, "Thread._bootstrap", "/usr/lib/python3.11/threading.py:995");
    let worker = id(FrameClass::YourPython, "worker", "/srv/app/serve.py:112");
    let handle = id(FrameClass::YourPython, "handle_request", "/srv/app/serve.py:71");
    let leak = id(FrameClass::YourNative, "normalize_request", "/srv/app/preprocess.c:12");
    let op = id(FrameClass::Op, "op MatMul (output, float32)", "");
    let load = id(FrameClass::YourPython, "load_model", "/srv/app/serve.py:20");
    let others: Vec<Step> =
        (0..40).map(|at| id(FrameClass::Native, &format!("function_{at}"), "")).collect();
    for (view, tree) in graph.trees.iter_mut().enumerate() {
        tree.add(
            [Step::Domain(Domain::Malloc), start, worker, handle, leak],
            [116_000_000, 118_000_001, 118_000_000, 20_001, 1200],
        );
        let run = Step::Run("TensorFlow", 27);
        tree.add(
            [Step::Domain(Domain::TensorFlow), start, worker, handle, run, op],
            [37_000_000, 38_000_000, 40_000_000, 900_000_000, 50_000],
        );
        for _ in 0..600 {
            let domain = [Domain::Malloc, Domain::Mmap, Domain::Python][random.below(3) as usize];
            let mut steps = vec![Step::Domain(domain), start, load];
            for _ in 0..random.below(9) + u64::from(view == 1) {
                steps.push(others[random.below(40) as usize]);
            }
            let bytes = random.below(900_000);
            let weights: NodeWeights =
                [0, bytes, bytes + 7, random.below(1_000_000), random.below(99)];
            tree.add(steps, weights);
        }
    }
    graph.sites = (0..250_u64)
        .map(|at| Site {
            function: name(if at == 0 { "handle_request" } else { "load_model" }),
            location: Some(name(&format!("/srv/app/serve.py:{}", at + 20))),
            is_yours: at % 3 != 2,
            op: (at % 5 == 0).then(|| name("op MatMul (output, float32)")),
            domain: ["malloc", "python", "tensorflow"][at as usize % 3],
            stacks: at + 1,
            weights: [
                if at == 0 { 116_000_000 } else { 0 },
                118_000_000 / (at + 1),
                120_000_000 / (at + 1),
                at * 20_001,
                at * 7 + 1,
            ],
        })
        .collect();
    graph
}

/// The names of a service.
pub(crate) fn plain() -> FlameGraph {
    service(str::to_owned)
}

/// Hostile names, still distinct.
pub(crate) fn hostile() -> FlameGraph {
    service(|name| if name.is_empty() { String::new() } else { format!("{HOSTILE}{name}") })
}

/// A tree of so many nodes, or a few more, each wide enough to be drawn or nearly so.
pub(crate) fn wide(nodes: usize) -> FlameGraph {
    let mut graph = FlameGraph::default();
    let mut random = Numbers::new();
    let names: Vec<Step> = (0..4000)
        .map(|at| {
            let class = [FrameClass::Native, FrameClass::Python, FrameClass::YourPython][at % 3];
            Step::Frame(graph.frames.id(frame(
                class,
                &format!("some_function_{at}"),
                "/srv/app/some.py:3",
            )))
        })
        .collect();
    let tree = &mut graph.trees[0];
    while tree.len() < nodes {
        let depth = 10 + random.below(50) as usize;
        // Few ways near the root, many further up.
        let steps =
            (0..depth).map(|at| names[(at * 60 + random.below(1 + at as u64 / 8) as usize) % 4000]);
        let steps: Vec<Step> = [Step::Domain(Domain::Malloc)].into_iter().chain(steps).collect();
        tree.add(steps, [0, 1000 + random.below(50), 1, 1, 1]);
    }
    graph
}

/// A hundred and eighty thousand nodes with long hostile names, and a hundred thousand sites.
pub(crate) fn huge() -> FlameGraph {
    let mut graph = FlameGraph { has_growth: true, ..FlameGraph::default() };
    let mut random = Numbers::new();
    let names: Vec<Step> = (0..20_000)
        .map(|at| {
            let name = format!("{at}{}", "<\u{1}Eigen".repeat(60));
            Step::Frame(graph.frames.id(frame(FrameClass::Native, &name, &name)))
        })
        .collect();
    for tree in &mut graph.trees {
        while tree.len() < 60_000 {
            let steps = (0..20).map(|at| names[random.below(4 + at * 1000) as usize]);
            let steps: Vec<Step> =
                [Step::Domain(Domain::Malloc)].into_iter().chain(steps).collect();
            let bytes = random.below(u64::MAX / 1_000_000_000);
            tree.add(steps, [bytes, bytes, bytes, bytes, bytes]);
        }
    }
    let site = Site {
        function: "<>".repeat(3000),
        location: Some("\u{202e}".repeat(3000)),
        is_yours: true,
        op: None,
        domain: "malloc",
        stacks: 1,
        weights: [u64::MAX; 5],
    };
    graph.sites = vec![site; 100_000];
    graph
}
