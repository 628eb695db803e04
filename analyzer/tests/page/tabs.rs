//! The other tabs.

use crate::browser::{Conditions, Page};
use crate::{graphs, reports};

#[test]
fn tabs_show_sites_run_and_glossary() {
    let page = Page::open(&reports::leak(), &graphs::plain());
    page.click("#tab-sites");
    assert!(page.is("document.querySelector('#overview').hidden"));
    assert_eq!(page.number("document.querySelectorAll('.sites tbody tr').length"), 200.0);
    page.screenshot("sites-light");
    page.click(".sites th:nth-child(4) button");
    assert!(page.is("document.querySelector('.sites th:nth-child(4)').ariaSort === 'descending'"));
    page.click("#site-search");
    page.type_text("handle_request");
    assert_eq!(page.number("document.querySelectorAll('.sites tbody tr').length"), 1.0);
    assert!(
        page.text("#site-count").starts_with("1 site, 118.0 MB unfreed"),
        "{}",
        page.text("#site-count")
    );
    page.click("#tab-run");
    let run = page.text("#run");
    for shown in [
        "3.11.7",
        "1,200, counted by calls of TFE_Execute",
        "Nothing is missing",
        "96.4 %",
        "Software in this page",
    ] {
        assert!(run.contains(shown), "{shown}: {run}");
    }
    page.screenshot("run-light");
    page.click("#tab-glossary");
    assert!(page.text("#glossary").contains("keeps growing with each request"));
    page.screenshot("glossary-light");
    page.assert_quiet();
    drop(page);
    let page = Page::open_in(
        &reports::leak(),
        &graphs::plain(),
        Conditions { dark: true, fragment: "#overview&suspect=2" },
    );
    assert!(page.text("#drawer").contains("keep_result"));
    page.screenshot("drawer-dark");
    page.press("Escape");
    page.click("#theme");
    assert_eq!(page.value("getComputedStyle(document.body).backgroundColor"), "rgb(244, 245, 247)");
    page.assert_quiet();
}
