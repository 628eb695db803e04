//! GPU memory: two devices beside the host, what held one when it was full, the flame graph by domain.

use std::path::Path;

use tftrace_analyzer::findings::{Findings, examine};
use tftrace_analyzer::page::{FlameGraph, Sketch, render};
use tftrace_analyzer::suppression::Suppressions;
use tftrace_format::builder::{Packing, TraceBuilder};
use tftrace_format::reader::Trace;
use tftrace_format::record::{Code, LineTable, MemoryReading, Record};
use tftrace_format::{CodeId, CudaKind, CudaMemory, Domain, Event, Frame, OpId, StackId, Ticks};

use crate::browser::{Conditions, Page};

const REQUESTS: u64 = 600;
/// Ticks, and so nanoseconds, from one request to the next.
const REQUEST: u64 = 50_000_000;
/// What a request leaves on device 0.
const KEPT: u64 = 1_500_001;
const REGION: u64 = 1_000_000_000;
const DEVICES: [u64; 2] = [1 << 40, 1 << 42];
const FILE: &[u8] = b"/srv/app/serve.py";

/// A service whose tensors fill device 0 until it has no more, while device 1 has the weights.
fn service() -> Vec<u8> {
    let mut builder = TraceBuilder::new();
    for (id, name, line) in [(1, &b"handle_request"[..], 71), (2, b"load_weights", 20)] {
        let line_table = LineTable::Lnotab;
        let code =
            Code { id: CodeId(id), first_line: line, name, file: FILE, line_table, lines: b"" };
        builder.record(&Record::Code(code));
    }
    for (id, name) in [(1, &b"serving/dense/MatMul"[..]), (2, b"VarHandleOp")] {
        builder.record(&Record::Op { id: OpId(id), name, region: b"output", data_type: 1 });
    }
    let label = builder.label("request");
    let python = |code| Frame::Python { code: CodeId(code), instruction: 0 };
    let memory = |kind, device| Frame::Cuda(CudaMemory { kind, device: Some(device), context: 1 });
    let on = |device| memory(CudaKind::Device, device);
    let regions =
        [0, 1].map(|device| builder.stack(&[python(2), on(device), Frame::Pool(Domain::Cuda)]));
    let result = builder.stack(&[python(1), on(0), Frame::Op(OpId(1))]);
    let weights = [0, 1].map(|device| builder.stack(&[python(2), on(device), Frame::Op(OpId(2))]));
    let pinned = builder.stack(&[python(2), memory(CudaKind::Pinned, 0)]);
    let [model, buffer] =
        [2, 1].map(|code| builder.stack(&[python(code), Frame::Raw { address: 16 }]));

    let mut allocate = |time, domain, address, size, stack: StackId| {
        let (time, stack, file_backed) = (Ticks(time), Some(stack), false);
        builder.event(0, Event::Allocated { time, domain, address, size, stack, file_backed });
    };
    for (at, (base, region)) in DEVICES.into_iter().zip(regions).enumerate() {
        let time = 10 + at as u64;
        allocate(time, Domain::Cuda, base, REGION, region);
        allocate(
            time + 10,
            Domain::TensorFlow,
            base,
            60_000_001 * (1 + 4 * at as u64),
            weights[at],
        );
    }
    allocate(30, Domain::CudaHost, 1 << 44, 16_000_000, pinned);
    allocate(31, Domain::Malloc, 1 << 30, 90_000_000, model);
    for request in 0..REQUESTS {
        let time = |part: u64| request * REQUEST + part * REQUEST / 10;
        allocate(time(1), Domain::Malloc, 1 << 20, 2_000_000, buffer);
        allocate(
            time(2),
            Domain::TensorFlow,
            DEVICES[0] + 100_000_000 + request * KEPT,
            KEPT,
            result,
        );
    }
    for request in 0..REQUESTS {
        let time = |part: u64| Ticks(request * REQUEST + part * REQUEST / 10);
        builder.event(0, Event::Freed { time: time(3), domain: Domain::Malloc, address: 1 << 20 });
        builder.event(0, Event::Marked { time: time(4), label });
    }
    let time = Ticks(REQUESTS * REQUEST);
    let (domain, size, stack, error) = (Domain::TensorFlow, 64_000_000, Some(result), 2);
    builder.event(0, Event::Failed { time, domain, size, stack, error });
    for part in 1..=30 {
        builder.reading(MemoryReading {
            time: REQUESTS * REQUEST * part / 30 - REQUEST,
            rss_anonymous: 160_000_000,
            rss_file: 400_000_000,
            cgroup_limit: 4_000_000_000,
            cgroup_current: 560_000_000,
            ..MemoryReading::default()
        });
    }
    builder.build(Packing::Chunked)
}

fn page() -> Vec<u8> {
    let bytes = service();
    let trace = Trace::open(&bytes).unwrap();
    let path = Path::new("/srv/app/trace.bin");
    let Findings { report, weights, symbols } =
        examine(&trace, path, &mut Suppressions::built_in(), None);
    let sketch = Sketch::of(&trace, &weights);
    let graph = FlameGraph::build(&trace, &symbols, sketch, weights.growth.as_ref());
    render(&report, &graph)
}

#[test]
fn devices_stand_beside_the_host_and_a_full_one_says_who_held_it() {
    let html = page();
    for (dark, name) in [(false, "light"), (true, "dark")] {
        let page = Page::open_html(&html, Conditions { dark, fragment: "" });
        assert_eq!(page.text("#banner .verdict"), "▲\nLeak");
        // The device is what fills: the host's limit is not what it comes near to.
        assert_eq!(page.text("#banner-limit"), "4.0 GB\nmemory limit, not approached");
        let legend = page.text("#time-line-legend");
        assert!(
            legend.contains("cuda-host")
                && legend.contains("malloc")
                && !legend.contains("handle_request"),
            "{legend}"
        );
        let legend = page.text("#gpu-line-legend");
        for shown in [
            "1 handle_request",
            "900.0 MB",
            "other cuda",
            "360.0 MB",
            "taken from the driver",
            "2.0 GB",
        ] {
            assert!(legend.contains(shown), "{shown}: {legend}");
        }
        assert_eq!(page.number("document.querySelectorAll('#gpu-line canvas').length"), 1.0);
        page.screenshot(&format!("gpu-overview-{name}"));
        page.click("#gpu-full");
        let card = page.text("#out-of-memory");
        for shown in [
            "Out of memory on device 0",
            "64.0 MB were asked for",
            "handle_request (serve.py:71) · op serving/dense/MatMul",
            "960.0 MB in use of 1.0 GB taken",
            "900.0 MB",
            "load_weights (serve.py:20) · op VarHandleOp",
            "60.0 MB",
        ] {
            assert!(card.contains(shown), "{shown}: {card}");
        }
        let panels = "document.querySelectorAll('.gpu')";
        assert_eq!(page.number(&format!("{panels}.length")), 2.0);
        for (at, shown) in [
            (0, ["device 0", "960.0 MB, at most 960.0 MB"]),
            (1, ["device 1", "300.0 MB, at most"]),
        ] {
            let text = page.value(&format!("{panels}[{at}].innerText"));
            shown.iter().for_each(|shown| {
                assert!(text.as_str().unwrap().contains(shown), "{shown}: {text}")
            });
            assert_eq!(
                page.number(&format!("{panels}[{at}].querySelectorAll('canvas').length")),
                1.0
            );
        }
        assert!(page.text("#run").contains("pinned\n16.0 MB"), "{}", page.text("#run"));
        page.screenshot(&format!("gpu-run-{name}"));
        page.click("#out-of-memory summary");
        assert!(
            page.text("#out-of-memory").contains("[device 0]"),
            "{}",
            page.text("#out-of-memory")
        );
        page.press("2");
        page.click("#flame-weight [data-value=unfreed]");
        page.screenshot(&format!("gpu-flame-{name}"));
        page.assert_quiet();
    }
}

#[test]
fn the_flame_graph_of_a_device_has_nothing_of_the_host() {
    let linked = Conditions { dark: false, fragment: "#flame&weight=unfreed" };
    let page = Page::open_html(&page(), linked);
    let all = page.text("#flame-selected");
    let boxes = page.value(
        "[...document.querySelectorAll('.checks label')].map(label => label.textContent).join()",
    );
    let boxes: Vec<&str> = boxes.as_str().unwrap().split(',').collect();
    // What is in the pools counts, the pools themselves do not.
    assert_eq!(boxes, ["malloc", "cuda", "cuda-host"], "{all}");
    assert!(all.contains("1.4 GB") || all.contains("1.3 GB"), "{all}");
    page.value("[...document.querySelectorAll('.checks label')].filter(l => l.textContent !== 'cuda').forEach(l => l.click())");
    page.settle();
    assert!(page.text("#flame-selected").contains("1.3 GB"), "{}", page.text("#flame-selected"));
    page.click("#flame-search");
    page.type_text("device 1");
    assert!(
        page.text("#flame-found").starts_with("found 300.0 MB"),
        "{}",
        page.text("#flame-found")
    );
    page.screenshot("gpu-flame-search");
    page.assert_quiet();
}
