//! What the documents say of the tests is true.

use std::path::Path;

use crate::support::build::repository;

fn has_test(file: &Path, name: &str) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.contains(&format!("fn {name}()"))
}

#[test]
fn every_test_that_the_table_of_hazards_names_is_there() {
    let text = std::fs::read_to_string(repository().join("docs/safety.md")).unwrap();
    let mut seen = 0;
    for quoted in text.split('`').skip(1).step_by(2) {
        let (folder, path) = match quoted.split_once(": ") {
            Some(("tracer", path)) => ("tracer/src", path),
            Some(("analyzer", path)) => ("analyzer/src", path),
            Some(_) => continue,
            None => ("tests/e2e", quoted),
        };
        let Some((module, name)) = path.rsplit_once("::") else { continue };
        if !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
            continue;
        }
        seen += 1;
        let module = repository().join(folder).join(module.replace("::", "/"));
        let files = [module.with_extension("rs"), module.join("mod.rs")];
        assert!(files.iter().any(|file| has_test(file, name)), "{quoted}");
    }
    assert!(seen > 60, "{seen} tests are named");
}

#[test]
fn every_hazard_is_in_the_table() {
    let text = std::fs::read_to_string(repository().join("docs/safety.md")).unwrap();
    let rows: Vec<u32> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" |").next())
        .flat_map(|cell| cell.split(", ").filter_map(|number| number.parse().ok()))
        .collect();
    assert_eq!(rows, (1..=54).collect::<Vec<_>>());
}
