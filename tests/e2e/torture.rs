//! The torture programs, where a checkout has them beside it.

use std::process::Command;

use crate::support::build::{have, must_succeed, repository, tools};
use crate::support::host::{clean_environment, finish};

const TESTS: [&str; 5] =
    ["t05_longjmp", "t08_pingpong", "t14_exit_static", "t16_api", "t22_dl_semantics"];

#[test]
fn the_torture_programs_are_unharmed_and_counted_exactly() {
    let torture = repository().join("../shared/torture");
    if !torture.join("run.py").is_file() {
        println!("skipped: ../shared is absent");
        return;
    }
    if !(have("make") && have("g++") && have("python3")) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    must_succeed(Command::new("cp").arg("-r").arg(&torture).arg(place.path()));
    let torture = place.path().join("torture");
    must_succeed(Command::new("make").args(["-s", "-j2"]).current_dir(&torture));
    let mut command = Command::new("python3");
    command.arg("run.py").args(TESTS).current_dir(&torture);
    command.arg("--lib").arg(&tools().library).arg("--analyze").arg(&tools().analyze);
    clean_environment(&mut command);
    let outcome = finish(&mut command);
    println!("{}", outcome.stdout);
    assert_eq!(outcome.code(), 0, "{}{}", outcome.stdout, outcome.stderr);
}
