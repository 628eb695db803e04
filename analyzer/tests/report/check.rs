//! `check`: an exit code for each outcome, annotations that GitHub reads, suppressions.

use tftrace_format::builder::{Packing, TraceBuilder};
use tftrace_format::record::{Code, LineTable, Record};
use tftrace_format::{CodeId, Domain, Event, Frame, Ticks};

use crate::program::Folder;
use crate::services::Service;

/// Runs `check` on `trace.bin`; gives the exit code and what was said.
#[track_caller]
fn check(folder: &Folder, arguments: &[&str]) -> (i32, String) {
    let output = folder.analyze(&[&["check", "trace.bin"], arguments].concat());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

fn leaking() -> Folder {
    let folder = Folder::new();
    folder.with("trace.bin", &Service::default().trace());
    folder
}

#[test]
fn a_leak_is_exit_code_3_and_names_its_line() {
    let folder = leaking();
    let (code, said) = check(&folder, &[]);
    assert_eq!(code, 3, "{said}");
    assert!(said.starts_with("LEAK: This process leaks 1.0 kB per request"), "{said}");
    assert!(said.contains("\n/app/serve.py:42 (handle): 1.0 kB per request"), "{said}");
}

#[test]
fn no_leak_is_exit_code_0() {
    let folder = Folder::new();
    folder.with("trace.bin", &Service { leaks: 0, ..Service::default() }.trace());
    let (code, said) = check(&folder, &["--fail-on", "undecided"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with("STEADY: No leak"), "{said}");
}

#[test]
fn growth_that_is_allowed_is_exit_code_0_and_more_is_3() {
    let folder = leaking();
    for (allowed, expected) in
        [("2kB/request", 0), ("0.5kB/request", 3), ("1MB/s", 0), ("10kB/s", 3), ("0/request", 3)]
    {
        let (code, said) = check(&folder, &["--max-growth", allowed]);
        assert_eq!(code, expected, "{allowed}: {said}");
        assert_eq!(said.contains("\nallowed by --max-growth\n"), expected == 0, "{said}");
    }
}

#[test]
fn what_cannot_be_decided_fails_only_on_request_with_exit_code_4() {
    let folder = Folder::new();
    folder.with("trace.bin", &Service { requests: 0, ..Service::default() }.trace());
    let (code, said) = check(&folder, &[]);
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with("UNDECIDED: "), "{said}");
    assert_eq!(check(&folder, &["--fail-on", "undecided"]).0, 4);
    let (code, said) = check(&folder, &["--fail-on", "undecided", "--format", "github"]);
    assert_eq!(code, 4);
    assert!(said.starts_with("::error title=tftrace::Cannot tell"), "{said}");
}

#[test]
fn errors_are_exit_code_1_and_wrong_usage_is_2() {
    let folder = leaking();
    folder.with("no-requests.bin", &Service { marks: false, ..Service::default() }.trace());
    for (arguments, code, what) in [
        (&["check", "missing.bin"][..], 1, "missing.bin: open: No such file"),
        (
            &["check", "no-requests.bin", "--max-growth", "1kB/request"],
            1,
            "--max-growth: no requests were counted: give BYTES/s",
        ),
        (&["check", "trace.bin", "--suppressions", "none"], 1, "none: No such file"),
        (&["check", "trace.bin", "--max-growth", "1kB"], 2, "give bytes and a unit"),
        (&["check"], 2, "required"),
    ] {
        let output = folder.analyze(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(what), "{arguments:?}: {stderr}");
        assert_eq!(output.stdout, b"", "{arguments:?}");
    }
}

/// `%`, `:`, `,` and ends of lines would end a property or the command.
#[test]
fn annotations_for_github_are_at_the_line_and_escaped() {
    let folder = Folder::new();
    let file = "/app/a,b:100%\nc.py";
    let function = "han\ndle::error";
    folder.with("trace.bin", &Service { file, function, ..Service::default() }.trace());
    let (code, said) = check(&folder, &["--format", "github"]);
    assert_eq!(code, 3);
    let begin = "::error file=/app/a%2Cb%3A100%25%0Ac.py,line=42,title=tftrace::leaks 1.0 kB per request (95 %25: ";
    assert!(said.starts_with(begin), "{said}");
    assert!(said.contains("in han%0Adle::error."), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let (code, said) = check(&folder, &["--format", "github", "--max-growth", "1MB/request"]);
    assert_eq!(code, 0);
    assert!(said.starts_with("::warning file="), "what is allowed is no error: {said}");
}

#[test]
fn what_is_suppressed_is_counted_and_does_not_fail_and_stale_rules_are_named() {
    let folder = leaking();
    folder.with("known.txt", b"# why\nleak:serve.py:42\nleak:^never$\n");
    let (code, said) = check(&folder, &["--suppressions", "known.txt"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("suppressed: 1 suspect by leak:serve.py:42 (known.txt)\n"), "{said}");
    assert!(
        said.contains("stale suppression, fits no suspect: known.txt: leak:^never$\n"),
        "{said}"
    );
    let report = folder.json(&["trace.bin", "--json", "--no-page", "--suppressions", "known.txt"]);
    assert_ne!(report["verdict"], "leak");
    let suspect = &report["suspects"][0];
    assert_eq!(
        (&suspect["verdict"], &suspect["suppressed_by"]),
        (&"leak".into(), &"leak:serve.py:42".into())
    );
    assert_eq!(report["suppressions"]["used"][0]["suspects"], 1);
    assert_eq!(report["suppressions"]["stale"][0], "known.txt: leak:^never$");
    folder.with("bad.txt", b"leak:x\nrace:y\n");
    let output = folder.analyze(&["check", "trace.bin", "--suppressions", "bad.txt"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("bad.txt: line 2: a line must be leak:PATTERN"), "{stderr}");
}

/// A process that imports for as long as it is traced, by so many call stacks in turn.
fn importing(stacks: u64) -> Vec<u8> {
    let mut builder = TraceBuilder::new();
    for (id, name, file) in [
        (1, &b"<module>"[..], &b"/app/serve.py"[..]),
        (2, b"_find_and_load", b"<frozen importlib._bootstrap>"),
    ] {
        let (first_line, line_table) = (1, LineTable::Lnotab);
        builder.record(&Record::Code(Code {
            id: CodeId(id),
            first_line,
            name,
            file,
            line_table,
            lines: b"",
        }));
    }
    let python = |code| Frame::Python { code: CodeId(code), instruction: 0 };
    for block in 0..2_000 {
        let stack =
            builder.stack(&[python(1), python(2), Frame::Raw { address: 0x100 + block % stacks }]);
        builder.event(
            0,
            Event::Allocated {
                time: Ticks((block + 1) * 10_000_000),
                domain: Domain::Malloc,
                address: 0x100_0000 + block * 0x1_0000,
                size: 5_000,
                stack: Some(stack),
                file_backed: false,
            },
        );
    }
    builder.build(Packing::Chunked)
}

#[test]
fn imports_alone_are_no_leak_and_modules_loaded_again_and_again_are_one() {
    let folder = Folder::new();
    folder.with("trace.bin", &importing(2_000));
    let (code, said) = check(&folder, &[]);
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with("UNDECIDED: Cannot tell: the trace is too short."), "{said}");
    folder.with("trace.bin", &importing(20));
    let (code, said) = check(&folder, &[]);
    assert_eq!(code, 3, "{said}");
}
