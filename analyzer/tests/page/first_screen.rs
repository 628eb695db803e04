//! What is seen first, in 1280 by 800 pixels, and what a suspect opens.

use tftrace_analyzer::model::{Suppressed, UsedRule};

use crate::browser::{Conditions, Page};
use crate::{graphs, reports};

/// The lower edge of an element, in pixels.
fn bottom(page: &Page, selector: &str) -> f64 {
    page.number(&format!("document.querySelector({selector:?}).getBoundingClientRect().bottom"))
}

#[test]
fn the_first_screen_has_banner_chart_and_table_without_scrolling() {
    let page = Page::open(&reports::leak(), &graphs::plain());
    assert_eq!(page.text("#banner .verdict"), "▲\nLeak");
    assert!(page.text("#sentence").contains("leaks 96.7 kB with every request"));
    assert_eq!(page.text("#banner-growth"), "+129.4 kB/request\n95 %: 124.8 to 134.1");
    assert_eq!(page.text("#banner-limit"), "3 h 9 min\nuntil the memory limit of 1.5 GB");
    assert!(page.text("#action").contains("serve.py:71"));
    assert_eq!(page.number("document.querySelectorAll('#time-line canvas').length"), 1.0);
    let legend = page.text("#time-line-legend");
    for shown in ["1 handle_request", "2 keep_result", "other malloc", "RSS", "mmap"] {
        assert!(legend.contains(shown), "{shown}: {legend}");
    }
    assert_eq!(page.number("document.querySelectorAll('.suspects tbody tr').length"), 6.0);
    let row = page.text(".suspects tbody tr");
    for shown in ["Leak", "handle_request", "serve.py:71", "kB/request", "to", "118"] {
        assert!(row.contains(shown), "{shown}: {row}");
    }
    assert!(bottom(&page, ".suspects tbody tr:last-child") <= 800.0);
    assert!(page.number("document.documentElement.scrollHeight") <= 800.0);
    page.screenshot("overview-light");
    page.assert_quiet();
    drop(page);
    let dark = Conditions { dark: true, ..Conditions::default() };
    let page = Page::open_in(&reports::leak(), &graphs::plain(), dark);
    assert_eq!(page.value("getComputedStyle(document.body).backgroundColor"), "rgb(18, 22, 29)");
    page.screenshot("overview-dark");
    page.assert_quiet();
}

#[test]
fn a_row_opens_a_drawer_with_stack_curve_pattern_and_texts_to_copy() {
    let page = Page::open(&reports::leak(), &graphs::plain());
    assert!(page.is("document.querySelector('#drawer').hidden"));
    page.click(".suspects tbody tr");
    let drawer = page.text("#drawer");
    for shown in [
        "handle_request",
        "/srv/app/serve.py:71",
        "Results are kept in a list",
        "Give the list a bound",
        "op MatMul",
        "your line",
        "24 framework frames",
        "1,200 blocks",
    ] {
        assert!(drawer.contains(shown), "{shown}: {drawer}");
    }
    assert_eq!(page.number("document.querySelectorAll('#drawer-curve canvas').length"), 1.0);
    page.screenshot("drawer-light");
    let frames = "document.querySelectorAll('#drawer .frame').length";
    let before = page.number(frames);
    page.click("#drawer .unfold");
    assert!(page.number(frames) > before + 1.0, "folded frames do not open");
    page.click("#copy-issue");
    assert_eq!(page.text("#copy-issue"), "Copied ✓");
    let issue =
        page.value("issueTextOfTest = null, navigator.clipboard.readText().catch(() => '')");
    assert!(
        issue
            .as_str()
            .is_some_and(|text| text.is_empty() || text.contains("## Leak: handle_request")),
        "{issue}"
    );
    page.click("#copy-suppression");
    assert_eq!(page.text("#copy-suppression"), "Copied ✓");
    assert!(page.is("location.hash.includes('suspect=1')"));
    page.press("Escape");
    assert!(page.is("document.querySelector('#drawer').hidden"));
    assert!(page.is("document.activeElement.dataset.rank === '1'"), "the focus is lost");
    page.assert_quiet();
}

#[test]
fn the_keyboard_alone_is_enough() {
    let page = Page::open(&reports::leak(), &graphs::plain());
    page.value("document.querySelector('.suspects tbody tr').focus()");
    page.press("ArrowDown");
    page.press("Enter");
    assert!(page.text("#drawer").contains("keep_result"));
    page.press("Escape");
    page.press("2");
    assert!(page.is("!document.querySelector('#flame').hidden"));
    page.press("/");
    page.type_text("normalize");
    assert!(
        page.text("#flame-found").contains("118.0 MB")
            || page.text("#flame-found").contains("116.0 MB")
    );
    page.press("Enter");
    page.press("ArrowDown");
    page.press("ArrowDown");
    page.press("Enter");
    assert!(page.is("location.hash.includes('node=')"), "Enter does not zoom");
    page.press("Escape");
    page.press("Escape");
    assert!(page.is("!location.hash.includes('node=')"), "Escape does not zoom out");
    page.press("4");
    assert!(page.text("#run").contains("python examples/serve.py"));
    page.assert_quiet();
}

/// A suspect that lies in several domains has more than the one that is named.
#[test]
fn the_layers_of_the_chart_add_up_to_what_is_live() {
    let mut report = reports::leak();
    report.suspects[0].domain = "mmap".into();
    let held = report.suspects[0].curve.held.last().copied().unwrap();
    let mmap = report.time_line.domains.iter().find(|series| series.name == "mmap").unwrap();
    assert!(held > *mmap.bytes.last().unwrap() as f64, "the test needs more than the domain has");
    let live: u64 =
        report.time_line.domains.iter().map(|series| *series.bytes.last().unwrap()).sum();
    let page = Page::open(&report, &graphs::plain());
    // What the legend says of each layer, in MB.
    let legend = "[...document.querySelectorAll('#time-line-legend .legend-entry:has(.swatch.area) .legend-value')]";
    let texts = page.value(&format!("{legend}.map(value => value.innerText).join(';')"));
    let megabytes = |text: &str| match text.split_once(' ') {
        Some((number, "MB")) => number.parse::<f64>().unwrap(),
        Some((_, "B")) => 0.0,
        _ => panic!("{texts}"),
    };
    let drawn: f64 = texts.as_str().unwrap().split(';').map(megabytes).sum();
    assert!((drawn - live as f64 / 1e6).abs() < 0.5, "{drawn} MB of {live}: {texts}");
    // The small curves follow the time axis of the chart: half of the requests is half of the width.
    let path = page.value("document.querySelector('.sparkline-line').getAttribute('d')");
    let points = path.as_str().unwrap().trim_start_matches('M').split('L');
    let places: Vec<f64> =
        points.map(|point| point.split(' ').next().unwrap().parse().unwrap()).collect();
    assert!(places.is_sorted() && *places.last().unwrap() == 112.0, "{places:?}");
    page.assert_quiet();
}

#[test]
fn what_is_suppressed_is_marked_and_counted() {
    let mut report = reports::leak();
    report.suspects[1].suppressed_by = Some("leak:keep_result".into());
    report.suppressions = Suppressed {
        built_in_version: 1,
        used: vec![UsedRule { rule: "leak:keep_result".into(), file: None, suspects: 1 }],
        stale: vec!["known.txt: leak:gone".into()],
    };
    report.process.children = vec!["trace.17.bin".into(), "trace.18.bin".into()];
    let page = Page::open(&report, &graphs::plain());
    assert!(page.text(".suspects tbody tr:nth-child(2)").contains("suppressed"));
    page.press("4");
    let run = page.text("#run");
    for shown in [
        "1 suspect\n",
        "leak:keep_result (built-in list, version 1)",
        "known.txt: leak:gone",
        "2 have traces of their own: tftrace-analyze merge",
    ] {
        assert!(run.contains(shown), "{shown}: {run}");
    }
    page.assert_quiet();
}

#[test]
fn every_kind_of_report_has_a_first_screen() {
    for (name, report, shown) in [
        ("steady", reports::steady(), &["Steady", "not approached", "load_model"][..]),
        (
            "undecided",
            reports::undecided(),
            &["Undecided", "too short", "No suspects", "no memory limit known"],
        ),
        ("no-requests", reports::no_requests(), &["MB/s", "no memory limit known"]),
    ] {
        let page = Page::open(&report, &graphs::plain());
        let text = page.text("#overview");
        for shown in shown {
            assert!(text.contains(shown), "{name}: {shown}: {text}");
        }
        page.screenshot(name);
        page.assert_quiet();
    }
    let page = Page::open(&reports::undecided(), &Default::default());
    page.press("2");
    page.press("3");
    page.press("4");
    assert!(page.text("#run").contains("1,234 events could not be recorded"));
    page.assert_quiet();
}
