//! The flame graph: what it shows, how it is searched and zoomed, and how long it takes to draw.

use crate::browser::{Conditions, Page};
use crate::{graphs, reports};

const OPEN: Conditions = Conditions { dark: false, fragment: "#flame" };

#[test]
fn weights_views_domains_search_and_zoom_are_in_the_address() {
    let page = Page::open_in(&reports::leak(), &graphs::plain(), OPEN);
    assert!(
        page.text("#flame-selected").contains("153.0 MB, 100.0 %"),
        "{}",
        page.text("#flame-selected")
    );
    page.screenshot("flame-light");
    page.click("#flame-weight [data-value=unfreed]");
    page.click("#flame-view [data-value=native]");
    page.click("#flame-layout [data-value=flame]");
    page.click("#flame-search");
    page.type_text("normalize_request");
    assert!(
        page.text("#flame-found").starts_with("found 118.0 MB"),
        "{}",
        page.text("#flame-found")
    );
    page.screenshot("flame-search");
    page.value("flameTools = [...document.querySelectorAll('.checks label')].find(l => l.textContent === 'malloc').click()");
    page.settle();
    assert_eq!(page.text("#flame-found"), "nothing found", "malloc is not shown");
    page.value("[...document.querySelectorAll('.checks label')].find(l => l.textContent === 'malloc').click()");
    page.settle();
    let hash = page.value("location.hash");
    assert_eq!(hash, "#flame&weight=unfreed&view=native&layout=flame&q=normalize_request");
    page.assert_quiet();
    drop(page);
    let linked = Conditions {
        dark: true,
        fragment: "#flame&weight=count&view=python&q=op%20MatMul&without=mmap,malloc",
    };
    let page = Page::open_in(&reports::leak(), &graphs::plain(), linked);
    assert!(
        page.text("#flame-found").starts_with("found 50,000 allocations"),
        "{}",
        page.text("#flame-found")
    );
    assert_eq!(page.number("document.querySelectorAll('.checks input:not(:checked)').length"), 2.0);
    page.screenshot("flame-dark");
    page.assert_quiet();
}

#[test]
fn a_click_zooms_and_the_address_leads_back_there() {
    let page = Page::open_in(&reports::leak(), &graphs::plain(), OPEN);
    // The heaviest stack stands at the left: the fifth row is the leak itself.
    page.value(
        "document.querySelector('#flame-canvas').dispatchEvent(new MouseEvent('click', {bubbles: true, \
         clientX: document.querySelector('#flame-canvas').getBoundingClientRect().left + 5, \
         clientY: document.querySelector('#flame-canvas').getBoundingClientRect().top + 5 * 19 + 5}))",
    );
    page.settle();
    assert!(
        page.text("#flame-selected").starts_with("normalize_request"),
        "{}",
        page.text("#flame-selected")
    );
    assert!(page.is("location.hash.includes('node=')"));
    page.click("#flame-reset");
    assert!(page.text("#flame-selected").starts_with("all"));
    page.assert_quiet();
}

/// Draws 60 frames, each scrolled by a row, and tells how long the page's own work took in each.
const DRAW: &str = "new Promise(done => {
    const times = [], scroll = document.querySelector('#flame-scroll');
    const step = at => {
        let before;
        requestAnimationFrame(() => { before = performance.now(); });
        scroll.scrollTop = (at * 19) % Math.max(1, scroll.scrollHeight - scroll.clientHeight);
        scroll.dispatchEvent(new Event('scroll'));
        requestAnimationFrame(() => {
            times.push(performance.now() - before);
            if (at < 60) return setTimeout(() => step(at + 1));
            times.sort((a, b) => a - b);
            done(`median ${times[30].toFixed(1)} ms, 95th percentile ${times[57].toFixed(1)} ms`);
        });
    };
    step(0);
})";

/// Prints what drawing takes; machines differ, so only what is drawn is asserted.
#[test]
fn fifty_thousand_nodes_are_drawn() {
    let graph = graphs::wide(49_900);
    let linked = Conditions { fragment: "#flame&weight=unfreed", ..OPEN };
    let page = Page::open_in(&reports::leak(), &graph, linked);
    let data = "JSON.parse(document.querySelector('#data').textContent)";
    let nodes = page.number(&format!("{data}.graph.trees.mixed.depths.length"));
    assert!((49_900.0..=50_000.0).contains(&nodes), "{nodes}");
    let frames = page.value(DRAW);
    let search = page.number(
        "(() => { const input = document.querySelector('#flame-search'), before = performance.now();
            input.value = 'function_7'; input.dispatchEvent(new Event('input'));
            return performance.now() - before })()",
    );
    let weigh = page.number(
        "(() => { const before = performance.now();
            document.querySelector('#flame-weight [data-value=peak]').click();
            return performance.now() - before })()",
    );
    println!(
        "{nodes} nodes: drawn in {frames}; search {search:.1} ms, another weight {weigh:.1} ms"
    );
    page.settle();
    page.screenshot("flame-wide");
    assert!(page.text("#flame-found").starts_with("found "));
    page.assert_quiet();
}
