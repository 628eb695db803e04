//! The page on several processes: all of them together, then each by itself.

use tftrace_analyzer::findings::together;
use tftrace_analyzer::model::Report;
use tftrace_analyzer::page::{MOST_BYTES, render_merged};

use crate::browser::{Conditions, Page};
use crate::reports;

fn open(processes: Vec<Report>, conditions: Conditions) -> Page {
    Page::open_html(&render_merged(&together(processes)), conditions)
}

fn bottom(page: &Page, selector: &str) -> f64 {
    page.number(&format!("document.querySelector({selector:?}).getBoundingClientRect().bottom"))
}

#[test]
fn the_first_screen_shows_all_processes_together_and_then_each() {
    let page = open(reports::prefork(), Conditions::default());
    assert_eq!(page.text("#banner .verdict"), "▲\nLeak");
    assert!(
        page.text("#sentence").starts_with("2 of 4 processes leak"),
        "{}",
        page.text("#sentence")
    );
    // The mean of the two, as both had as many requests.
    assert!(
        page.text("#banner-growth").starts_with("+97.0 kB/request"),
        "{}",
        page.text("#banner-growth")
    );
    let legend = page.text("#time-line-legend");
    for shown in ["pid 4711", "pid 4712", "pid 4713", "pid 4714"] {
        assert!(legend.contains(shown), "{shown}: {legend}");
    }
    assert_eq!(page.number("document.querySelectorAll('#time-line canvas').length"), 1.0);
    let first = page.text(".suspects tbody tr");
    assert!(first.contains("handle_request") && first.contains("2 of 4"), "{first}");
    let rows: Vec<String> =
        (1..=4).map(|row| page.text(&format!(".processes tbody tr:nth-child({row})"))).collect();
    let expected = [
        &["pid 4711", "Steady", "trace.bin", "30.0 MB"][..],
        &["pid 4712", "Steady", "1,200"],
        &["pid 4713", "Leak", "trace.4713.bin", "+129.4 kB/request", "124.8 to 134.1"],
        &["pid 4714", "Leak", "+64.7 kB/request"],
    ];
    for (row, expected) in rows.iter().zip(expected) {
        expected.iter().for_each(|shown| assert!(row.contains(shown), "{shown}: {row}"));
    }
    for tab in ["flame", "sites"] {
        assert!(page.is(&format!("document.querySelector('#tab-{tab}').hidden")));
    }
    page.screenshot("processes-light");
    assert!(bottom(&page, ".suspects tbody tr:last-child") <= 800.0);
    page.assert_quiet();
    drop(page);
    let page = open(reports::prefork(), Conditions { dark: true, fragment: "#overview&suspect=1" });
    let drawer = page.text("#drawer");
    for shown in
        ["handle_request", "In 2 of 4 processes", "pid 4713", "pid 4714", "+48.0 kB/request"]
    {
        assert!(drawer.contains(shown), "{shown}: {drawer}");
    }
    assert_eq!(page.number("document.querySelectorAll('#drawer-curve canvas').length"), 1.0);
    page.screenshot("processes-drawer-dark");
    page.press("Escape");
    page.screenshot("processes-dark");
    page.assert_quiet();
}

#[test]
fn a_process_opens_with_its_own_curve_and_suspects_and_the_keyboard_leads_back() {
    let page = open(reports::prefork(), Conditions::default());
    page.value("document.querySelector('.processes tbody tr:nth-child(2)').focus()");
    page.press("ArrowDown");
    page.press("Enter");
    assert!(page.text("#program").starts_with("pid 4713: python"), "{}", page.text("#program"));
    assert!(page.text("#sentence").contains("leaks 96.7 kB with every request"));
    assert!(page.is("document.querySelector('#processes').hidden"));
    assert_eq!(page.number("document.querySelectorAll('.suspects tbody tr').length"), 6.0);
    assert_eq!(page.number("document.querySelectorAll('#time-line canvas').length"), 1.0);
    assert!(page.text("#time-line-legend").contains("1 handle_request"));
    assert_eq!(page.value("location.hash"), "#overview&process=2");
    page.screenshot("process-light");
    page.press("2");
    assert!(page.text("#run").contains("/srv/app/trace.4713.bin"), "{}", page.text("#run"));
    assert!(page.text("#run").contains("4713"));
    page.press("1");
    page.press("Escape");
    assert!(page.text("#sentence").starts_with("2 of 4 processes"));
    assert!(page.is("document.activeElement.dataset.process === '2'"), "the focus is lost");
    // From a suspect of all into the one of a process.
    page.click(".suspects tbody tr");
    page.click(".parts tbody tr:nth-child(2)");
    assert!(page.text("#program").starts_with("pid 4714: "));
    assert!(page.text("#drawer").contains("+48.0 kB/request"), "{}", page.text("#drawer"));
    assert!(page.text("#drawer").contains("100 windows"), "{}", page.text("#drawer"));
    assert_eq!(page.value("location.hash"), "#overview&process=3&suspect=1");
    page.press("Escape");
    page.click("#all-processes");
    page.press("2");
    let run = page.text("#run");
    for shown in ["pid 4711", "/srv/app/trace.4714.bin", "Nothing is missing"] {
        assert!(run.contains(shown), "{shown}: {run}");
    }
    page.screenshot("processes-run");
    page.assert_quiet();
    drop(page);
    // An address that means nothing here shows all.
    for fragment in ["#flame&process=9", "#overview&process=constructor"] {
        let page = open(reports::prefork(), Conditions { dark: false, fragment });
        assert!(page.text("#sentence").starts_with("2 of 4 processes"));
        page.assert_quiet();
    }
}

#[test]
fn names_of_any_process_are_never_markup() {
    let page = open(vec![reports::hostile(), reports::hostile()], Conditions::default());
    page.click(".suspects tbody tr");
    page.press("Escape");
    for process in [1, 2] {
        page.click(&format!(".processes tbody tr:nth-child({process})"));
        page.click(".suspects tbody tr");
        page.press("Escape");
        page.press("2");
        page.press("1");
        page.press("Escape");
    }
    page.press("2");
    assert_eq!(page.number("document.querySelectorAll('img').length"), 0.0);
    assert_eq!(page.number("document.scripts.length"), 2.0);
    let is_turned =
        "/[\\u202a-\\u202e\\u2066-\\u2069\\u0000\\u001b]/.test(document.body.innerText)";
    assert!(!page.is(is_turned));
    page.assert_quiet();
}

/// Three huge ones, and two thousand small ones.
#[test]
fn a_page_on_any_number_of_processes_is_small_and_says_what_it_leaves_out() {
    let mut small = reports::steady();
    small.suspects.truncate(1);
    small.time_line = Default::default();
    let numbered = |(at, mut report): (usize, Report)| {
        report.process.pid = at as u32 + 1;
        report.process.trace = format!("{}{at}", "<&>".repeat(300));
        report
    };
    let mut huge = reports::huge();
    huge.suspects.truncate(8);
    let many = vec![huge; 3].into_iter().chain(vec![small; 2000]);
    let page = open(many.enumerate().map(numbered).collect(), Conditions::default());
    println!("bytes of a page on 2,003 processes: {}", page.bytes());
    assert!(page.bytes() <= MOST_BYTES, "{}", page.bytes());
    assert!(page.text("#program").starts_with("2,003 processes"), "{}", page.text("#program"));
    assert!(page.text("#processes").contains("left out of this page"), "rows");
    assert!(page.text("#time-line-legend").contains("1,997 others"));
    page.press("2");
    page.press("1");
    page.assert_quiet();
}
