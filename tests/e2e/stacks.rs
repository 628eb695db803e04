//! Call stacks name the functions that were really there.

use tftrace_format::page::{PAGE_BYTES, PAGE_MAGIC, PageKind};

use crate::support::Host;
use crate::support::build::{compile, have};
use crate::support::trace::{Trace, analyze, has_chain, is_frame, number_after};

/// The stacks of unfreed memory whose leaf, malloc aside, is this function.
fn stacks_of(trace: &Trace, function: &str) -> Vec<(Vec<String>, u64)> {
    let mut stacks = trace.folded();
    stacks.retain(|(frames, _)| {
        let inner = frames.iter().rev().take(2);
        inner.into_iter().any(|frame| is_frame(frame, function))
    });
    stacks
}

fn bytes(stacks: &[(Vec<String>, u64)]) -> u64 {
    stacks.iter().map(|(_, bytes)| bytes).sum()
}

#[test]
fn callers_stand_in_order_with_the_bytes_they_keep() {
    let trace = Host::c("chain.c").arg("100").trace();
    trace.assert_host_unharmed();
    let stacks = stacks_of(&trace, "c");
    assert_eq!(bytes(&stacks), 100 * 10_001, "{stacks:?}");
    assert!(has_chain(&stacks[0].0, &["main", "a", "b", "c"]), "{stacks:?}");
}

#[test]
fn a_deep_stack_is_cut_with_a_mark_and_keeps_root_and_leaf() {
    let trace = Host::c("deep.c").arg("5000").env("TFTRACE_DEPTH", "64").trace();
    trace.assert_host_unharmed();
    let stacks = stacks_of(&trace, "leaf");
    assert_eq!(bytes(&stacks), 10_001, "{stacks:?}");
    let frames = &stacks[0].0;
    assert!((32..=66).contains(&frames.len()), "{} frames: {frames:?}", frames.len());
    assert!(frames.iter().any(|frame| frame.starts_with("[frames left out")), "{frames:?}");
    assert!(frames.iter().take(5).any(|frame| is_frame(frame, "main")), "the root: {frames:?}");
    assert!(has_chain(frames, &["recurse", "leaf"]), "the leaf: {frames:?}");
}

#[test]
fn a_stack_that_fits_is_whole() {
    let trace = Host::c("deep.c").arg("900").trace();
    trace.assert_host_unharmed();
    let stacks = stacks_of(&trace, "leaf");
    let frames = &stacks[0].0;
    let recursions = frames.iter().filter(|frame| is_frame(frame, "recurse")).count();
    assert_eq!(recursions, 901, "{frames:?}");
    assert!(!frames.iter().any(|frame| frame.starts_with('[')), "{frames:?}");
}

/// The second library usually lies where the first one lay: a stale rule or name would show.
#[test]
fn an_unloaded_library_never_lends_its_name_to_the_next_one() {
    libraries_that_come_and_go(Host::c("plugs.c"));
}

/// As with glibc before 2.35.
#[test]
fn objects_are_found_without_glibcs_help_too() {
    libraries_that_come_and_go(Host::c("plugs.c").env("TFTRACE_OBJECTS", "list"));
}

/// Most frees come to no hook there; the loader's free of a library has to. The period makes sure that
/// every block of the libraries' is in the sample.
#[test]
fn a_sampled_host_s_libraries_come_and_go_too() {
    let sampled = || Host::c("plugs.c").env("TFTRACE_SAMPLE", "400B");
    libraries_that_come_and_go(sampled());
    libraries_that_come_and_go(sampled().env("TFTRACE_OBJECTS", "list"));
}

fn libraries_that_come_and_go(host: Host) {
    let first = compile("plug.c", &["-shared", "-fPIC", "-DENTRY=entry_of_a"]);
    let second = compile("plug.c", &["-shared", "-fPIC", "-DENTRY=entry_of_b", "-DB"]);
    let trace = host.arg(&first).arg(&second).arg("50").trace();
    trace.assert_host_unharmed();
    assert!(trace.traced.stdout.contains("addresses were reused"), "{trace:?}");
    trace.assert_counts(&[(10_001, 100, 0), (10_003, 100, 0)]);
    for (function, size) in [("entry_of_a", 10_001), ("entry_of_b", 10_003)] {
        let stacks = stacks_of(&trace, function);
        assert_eq!(bytes(&stacks), 100 * size, "{function}: {stacks:?}");
        let is_right = |frames: &Vec<String>| {
            has_chain(frames, &["use", function]) || has_chain(frames, &["use", "again", function])
        };
        assert!(stacks.iter().all(|(frames, _)| is_right(frames)), "{stacks:?}");
    }
}

/// Which takes an eighth of the pages.
#[test]
fn full_pages_of_the_stack_tree_are_compressed_and_its_stacks_are_whole() {
    let trace = Host::c("many_stacks.c").trace();
    trace.assert_host_unharmed();
    trace.assert_counts(&[(101, 16_384, 0)]);
    let stacks: Vec<_> = trace.folded().into_iter().filter(|(_, bytes)| bytes % 101 == 0).collect();
    assert_eq!(bytes(&stacks), 16_384 * 101);
    assert!(stacks.iter().all(|(frames, _)| has_chain(frames, &["main", "left"])), "{stacks:?}");
    assert!(stacks.len() >= 16_384 / 2, "{}", stacks.len());
    let file = std::fs::read(trace.path()).unwrap();
    let magic = PAGE_MAGIC.to_le_bytes();
    let is_nodes = |page: &&[u8]| page.starts_with(&magic) && page[4] == PageKind::Nodes as u8;
    let nodes = file.chunks(PAGE_BYTES).filter(is_nodes);
    let info = analyze(&["info"], &trace.path());
    assert!(number_after(&info, "stacks: ").unwrap() > 32_768, "{info}");
    assert!(nodes.count() <= 3, "of more than twelve the first and the last are left");
}

/// Read in place, they would stay in memory because of the tracer.
#[test]
fn large_unwind_tables_are_read_through_a_mapping_of_the_tracer_s_own() {
    check_large_tables(&["-shared", "-fPIC"], 1);
}

/// In its file stands something else.
#[test]
fn what_the_loader_writes_into_is_read_in_place() {
    check_large_tables(&["-shared", "-fPIC", "-DTEXT_RELOCATION", "-Wl,-z,notext"], 0);
}

/// So many mappings of the tracer's own are there for the tables of a library that is compiled so.
fn check_large_tables(flags: &[&str], own: u8) {
    let library = compile("plug_large.c", flags);
    let trace = Host::c("large_tables.c").arg(&library).arg(own.to_string()).trace();
    let says = |own: u8| {
        format!(
            "alone: {own} more\nchild: {own}, then {} more\nunloaded: 0 left\n\
             with threads: {own} more\nunloaded: 0 left\n",
            2 * own
        )
    };
    // How many files are open depends on who started the tests, and not on the tracer.
    let [plain, traced] = [&trace.plain.stdout, &trace.traced.stdout].map(|stdout| {
        let at = stdout.find("open files").expect("the program's last line");
        stdout.split_at(at)
    });
    assert_eq!((plain.0, traced.0), (says(0).as_str(), says(own).as_str()), "{trace:?}");
    assert_eq!(plain.1, traced.1);
    assert!(trace.plain.status.success() && trace.traced.status.success(), "{trace:?}");
    assert_eq!(trace.traced.stderr, "");
    let stacks = stacks_of(&trace, "entry_of_large");
    assert_eq!(bytes(&stacks), 3 * 10_001, "{stacks:?}");
    let is_right = |frames: &Vec<String>| has_chain(frames, &["main", "leak_in", "entry_of_large"]);
    assert!(stacks.iter().all(|(frames, _)| is_right(frames)), "{stacks:?}");
}

#[test]
fn after_longjmp_the_stack_is_the_new_one() {
    let trace = Host::c("jumps.c").arg("600").trace();
    trace.assert_host_unharmed();
    let stacks = stacks_of(&trace, "after_jump");
    assert_eq!(bytes(&stacks), 600 * 20_001, "{stacks:?}");
    for (frames, _) in &stacks {
        assert!(has_chain(frames, &["main", "attempt", "after_jump"]), "{frames:?}");
    }
}

#[test]
fn after_a_c_plus_plus_exception_the_stack_is_the_new_one() {
    if !have("g++") {
        return;
    }
    let trace = Host::c("exceptions.cpp").arg("300").trace();
    trace.assert_host_unharmed();
    assert_eq!(trace.live_blocks(10_001), 0, "{trace:?}");
    let stacks = stacks_of(&trace, "after_catch");
    assert_eq!(bytes(&stacks), 300 * 20_001, "{stacks:?}");
    for (frames, _) in &stacks {
        assert!(has_chain(frames, &["main", "attempt", "after_catch"]), "{frames:?}");
    }
}

#[test]
fn the_stack_of_a_signal_handler_goes_on_above_the_signal() {
    let trace = Host::c("handlers.c").arg("50").trace();
    trace.assert_host_unharmed();
    let stacks = stacks_of(&trace, "allocate_in_handler");
    assert_eq!(bytes(&stacks), 50 * 10_001, "{stacks:?}");
    for (frames, _) in &stacks {
        let place = |name: &str| frames.iter().position(|frame| is_frame(frame, name));
        let [main, interrupted, handler] = ["main", "interrupted", "handle"].map(place);
        assert!(main.is_some() && main < interrupted && interrupted < handler, "{frames:?}");
    }
}

/// Kept stacks must not be read where a coroutine's stack was unmapped between two others.
#[test]
fn coroutines_whose_stacks_come_and_go_are_unharmed() {
    for _ in 0..5 {
        let trace = Host::c("coroutines.c").trace();
        trace.assert_host_unharmed();
        trace.assert_counts(&[(10_001, 40, 0), (10_003, 220, 0)]);
        let stacks = stacks_of(&trace, "body");
        assert_eq!(bytes(&stacks), 40 * 10_001, "{stacks:?}");
    }
}
