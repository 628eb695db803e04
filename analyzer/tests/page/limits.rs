//! Hostile names and traces of any size.

use tftrace_analyzer::page::{FlameGraph, MOST_BYTES, render};

use crate::browser::Page;
use crate::{graphs, reports};

#[test]
fn names_of_a_program_are_never_markup() {
    let page = Page::open(&reports::hostile(), &graphs::hostile());
    assert!(page.value("document.title").as_str().unwrap().starts_with("tftrace: "));
    assert_eq!(page.number("document.querySelectorAll('img').length"), 0.0);
    assert_eq!(page.number("document.scripts.length"), 2.0);
    let sentence = page.text("#sentence");
    assert!(
        sentence.starts_with("</script><script>document.title='broken'</script><img src=x"),
        "{sentence}"
    );
    assert!(sentence.contains("⟨U+2028⟩⟨U+202E⟩cba⟨U+001B⟩[31m⟨U+0000⟩; 12"), "{sentence}");
    page.click(".suspects tbody tr");
    for tab in ["2", "3", "4", "5", "1"] {
        page.press("Escape");
        page.press(tab);
        assert_eq!(page.number("document.querySelectorAll('img').length"), 0.0);
        let is_turned =
            "/[\\u202a-\\u202e\\u2066-\\u2069\\u0000\\u001b]/.test(document.body.innerText)";
        assert!(!page.is(is_turned), "tab {tab}");
    }
    page.screenshot("hostile");
    page.assert_quiet();
}

#[test]
fn a_page_is_small_whatever_was_traced_and_says_what_it_leaves_out() {
    let plain = render(&reports::leak(), &graphs::plain()).len();
    let empty = render(&reports::undecided(), &FlameGraph::default()).len();
    // What is not data has the rest of the room.
    assert!(empty < 300_000, "{empty}");
    let page = Page::open(&reports::huge(), &graphs::huge());
    let huge = page.bytes();
    println!("bytes of a page: empty {empty}, of a service {plain}, huge {huge}");
    assert!(huge <= MOST_BYTES, "{huge}");
    assert!(page.text("#suspects").contains("left out of this page"));
    page.press("3");
    assert!(page.text("#site-count").contains("are not in this page"));
    page.press("2");
    assert!(page.text("#flame-legend").contains("too small for this page"));
    page.screenshot("huge");
    page.assert_quiet();
}
