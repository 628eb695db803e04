//! The files for other tools, read by readers that know the format and not this crate.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Parser;
use flate2::read::GzDecoder;
use protobuf::reflect::{FileDescriptor, MessageRef, ReflectValueRef};
use serde_json::Value;
use tftrace_analyzer::cli::{Cli, Metric};
use tftrace_analyzer::commands;
use tftrace_analyzer::heap::{HOST, Level, measure};
use tftrace_format::builder::{Packing, TraceBuilder};
use tftrace_format::reader::Trace;
use tftrace_format::totals::{Temporaries, TemporaryKey};
use tftrace_format::{Domain, Event, Frame, Ticks};

/// A trace of two domains in which every weight has another sum.
fn trace() -> Vec<u8> {
    let mut builder = TraceBuilder::new();
    let frames = |addresses: [u64; 3]| addresses.map(|address| Frame::Raw { address });
    let kept = Some(builder.stack(&frames([1, 2, 3])));
    let freed = Some(builder.stack(&frames([1, 2, 4])));
    let size = 10_001;
    for at in 0..5_u64 {
        let (stack, domain) = match at % 2 {
            0 => (kept, Domain::Malloc),
            _ => (freed, Domain::Python),
        };
        let (time, address) = (Ticks(10 + at), (at + 1) << 20);
        builder.event(
            0,
            Event::Allocated { time, domain, address, size: size + at, stack, file_backed: false },
        );
        if at % 2 == 1 {
            builder.event(0, Event::Freed { time: Ticks(20 + at), domain, address });
        }
    }
    let (time, domain) = (Ticks(30), Domain::Mmap);
    builder.event(
        0,
        Event::Allocated {
            time,
            domain,
            address: 1 << 40,
            size: 4096,
            stack: None,
            file_backed: false,
        },
    );
    let key = TemporaryKey { stack: freed, size: 33, domain: Domain::Malloc };
    builder.temporaries(0, Temporaries { key, count: 7 });
    builder.build(Packing::Chunked)
}

/// The sums of the analyzer, in the order of the files' weights: bytes, then blocks.
fn sums(bytes: &[u8]) -> Vec<u64> {
    let trace = Trace::open(bytes).unwrap();
    [Metric::Unfreed, Metric::Peak, Metric::Temporary, Metric::Allocated]
        .into_iter()
        .map(|metric| measure(&trace, metric, &HOST).totals.sum())
        .flat_map(|Level { bytes, blocks, .. }| [bytes, blocks])
        .collect()
}

const NAMES: [&str; 8] = [
    "unfreed_space",
    "unfreed_objects",
    "peak_space",
    "peak_objects",
    "temporary_space",
    "temporary_objects",
    "alloc_space",
    "alloc_objects",
];

/// Runs a command on the trace, and gives the file that it writes beside it.
fn export(folder: &Path, command: &[&str], extension: &str) -> PathBuf {
    let path = folder.join("trace.bin");
    fs::write(&path, trace()).unwrap();
    let arguments = ["tftrace-analyze"].iter().chain(command).copied();
    commands::run(&Cli::parse_from(arguments.chain(path.to_str()))).unwrap();
    folder.join(format!("trace.{extension}"))
}

fn integers(message: &MessageRef<'_>, field: &str) -> Vec<i64> {
    let field = message.descriptor_dyn().field_by_name(field).unwrap();
    field.get_repeated(&**message).into_iter().map(integer).collect()
}

fn integer(value: ReflectValueRef<'_>) -> i64 {
    match value {
        ReflectValueRef::I64(value) => value,
        ReflectValueRef::U64(value) => value as i64,
        other => panic!("{other:?}"),
    }
}

/// Read with the published schema, by another implementation of protocol buffers.
#[test]
fn pprof_files_are_what_the_published_schema_says_with_the_analyzers_sums() {
    let folder = tempfile::tempdir().unwrap();
    let file = export(folder.path(), &["pprof"], "pb.gz");
    let mut bytes = Vec::new();
    GzDecoder::new(fs::File::open(file).unwrap()).read_to_end(&mut bytes).unwrap();

    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats");
    let parsed = protobuf_parse::Parser::new()
        .pure()
        .include(&here)
        .input(here.join("profile.proto"))
        .file_descriptor_set();
    let schema = FileDescriptor::new_dynamic(parsed.unwrap().file.remove(0), &[]).unwrap();
    let profile = schema
        .message_by_package_relative_name("Profile")
        .unwrap()
        .parse_from_bytes(&bytes)
        .unwrap();
    assert!(
        profile.unknown_fields_dyn().iter().next().is_none(),
        "fields that the schema does not have"
    );

    let field = |name: &str| profile.descriptor_dyn().field_by_name(name).unwrap();
    let texts: Vec<String> = field("string_table")
        .get_repeated(&*profile)
        .into_iter()
        .map(|text| text.to_str().unwrap().to_owned())
        .collect();
    assert_eq!(texts[0], "");
    let list = |name: &str| -> Vec<MessageRef<'_>> {
        field(name)
            .get_repeated(&*profile)
            .into_iter()
            .map(|value| value.to_message().unwrap())
            .collect()
    };
    let number = |message: &MessageRef<'_>, name: &str| {
        integer(
            message
                .descriptor_dyn()
                .field_by_name(name)
                .unwrap()
                .get_singular_field_or_default(&**message),
        )
    };
    let named: Vec<&str> = list("sample_type")
        .iter()
        .map(|kind| texts[number(kind, "type") as usize].as_str())
        .collect();
    assert_eq!(named, NAMES);
    let units: Vec<&str> = list("sample_type")
        .iter()
        .map(|kind| texts[number(kind, "unit") as usize].as_str())
        .collect();
    assert_eq!(units, ["bytes", "count"].repeat(4));

    let locations: Vec<i64> =
        list("location").iter().map(|location| number(location, "id")).collect();
    let functions: Vec<i64> =
        list("function").iter().map(|function| number(function, "id")).collect();
    let mut found = vec![0; NAMES.len()];
    let mut domains = Vec::new();
    for sample in list("sample") {
        let values = integers(&sample, "value");
        assert_eq!(values.len(), NAMES.len());
        found.iter_mut().zip(values).for_each(|(sum, value)| *sum += value as u64);
        let ids = integers(&sample, "location_id");
        assert!(!ids.is_empty() && ids.iter().all(|id| locations.contains(id)), "{ids:?}");
        let label = sample.descriptor_dyn().field_by_name("label").unwrap();
        for label in label.get_repeated(&*sample) {
            domains.push(texts[number(&label.to_message().unwrap(), "str") as usize].clone());
        }
    }
    assert_eq!(found, sums(&trace()));
    domains.sort_unstable();
    assert_eq!(domains, ["malloc", "malloc", "mmap", "python"]);
    for location in list("location") {
        let lines = location.descriptor_dyn().field_by_name("line").unwrap();
        for line in lines.get_repeated(&*location) {
            assert!(functions.contains(&number(&line.to_message().unwrap(), "function_id")));
        }
    }
}

#[test]
fn speedscope_files_are_what_the_published_schema_says_with_the_analyzers_sums() {
    let schema: Value = serde_json::from_str(include_str!("speedscope.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let refused = serde_json::json!({ "profiles": 3 });
    assert!(!schema.is_valid(&refused), "the schema lets everything pass");
    let folder = tempfile::tempdir().unwrap();
    for (at, metric) in ["unfreed", "peak", "temporary", "allocated"].into_iter().enumerate() {
        let arguments = ["speedscope", "--metric", metric];
        let file = export(folder.path(), &arguments, "speedscope.json");
        let file: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        let faults: Vec<String> =
            schema.iter_errors(&file).map(|fault| fault.to_string()).collect();
        assert!(faults.is_empty(), "{faults:?}");
        let profiles = file["profiles"].as_array().unwrap();
        let names: Vec<&str> = profiles.iter().filter_map(|it| it["name"].as_str()).collect();
        assert_eq!(names, NAMES[2 * at..2 * at + 2]);
        let found: Vec<u64> = profiles.iter().map(weight).collect();
        assert_eq!(found, sums(&trace())[2 * at..2 * at + 2], "{metric}");
        for profile in profiles {
            assert_eq!(profile["endValue"].as_u64().unwrap(), weight(profile));
            let samples = profile["samples"].as_array().unwrap().len();
            assert_eq!(samples, profile["weights"].as_array().unwrap().len());
        }
        // The root comes first: 0x1 is called by nobody.
        if metric == "unfreed" {
            let frames = &file["shared"]["frames"];
            let name = |frame: &Value| frames[frame.as_u64().unwrap() as usize]["name"].clone();
            let stack = profiles[0]["samples"][0].as_array().unwrap();
            let stack: Vec<Value> = stack.iter().map(name).collect();
            assert_eq!(stack, ["malloc", "0x1", "0x2", "0x3"]);
        }
    }
}

/// The sum of a profile's weights.
fn weight(profile: &Value) -> u64 {
    profile["weights"].as_array().unwrap().iter().map(|weight| weight.as_u64().unwrap()).sum()
}

#[test]
fn an_export_never_replaces_the_trace() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.bin");
    fs::write(&path, trace()).unwrap();
    let path = path.to_str().unwrap();
    let cli = Cli::parse_from(["tftrace-analyze", "pprof", path, "--output", path]);
    let error = commands::run(&cli).unwrap_err().to_string();
    assert!(error.contains("is the trace itself"), "{error}");
    let cli =
        Cli::parse_from(["tftrace-analyze", "speedscope", path, "--output", "/no/such/folder/x"]);
    let error = commands::run(&cli).unwrap_err().to_string();
    assert!(error.contains("--output"), "{error}");
}
