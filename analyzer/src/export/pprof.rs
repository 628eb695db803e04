//! A profile for pprof: gzip of a protocol buffer, as `profile.proto` of google/pprof describes it.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;
use rustc_hash::FxHashMap;

use super::stacks::ExportedStacks;

/// `perftools.profiles.Profile`, the fields that we write. Texts are indexes into `string_table`.
#[derive(Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(int64, repeated, tag = "13")]
    comment: Vec<i64>,
    #[prost(int64, tag = "14")]
    default_sample_type: i64,
}

#[derive(Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Message)]
struct Sample {
    /// Leaf first.
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    label: Vec<Label>,
}

#[derive(Message)]
struct Label {
    #[prost(int64, tag = "1")]
    key: i64,
    #[prost(int64, tag = "2")]
    str: i64,
}

#[derive(Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

#[derive(Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "4")]
    filename: i64,
}

/// The texts of a profile, each once. The first is empty, as the format wants it.
struct Texts<'a>(Vec<&'a str>, FxHashMap<&'a str, i64>);

impl<'a> Texts<'a> {
    fn add(&mut self, text: &'a str) -> i64 {
        let next = self.0.len() as i64;
        *self.1.entry(text).or_insert_with(|| {
            self.0.push(text);
            next
        })
    }
}

/// Writes the profile of a program. `started` is in nanoseconds since 1970,
/// `seconds` how long it was traced.
///
/// Each sample has its domain as a label, for `pprof -tagfocus`.
pub fn pprof(
    stacks: &ExportedStacks,
    program: &str,
    started: u64,
    seconds: f64,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut texts = Texts(Vec::new(), FxHashMap::default());
    texts.add("");
    let sample_type = stacks.measures().iter().map(|measure| ValueType {
        kind: texts.add(measure.name),
        unit: texts.add(if measure.is_bytes { "bytes" } else { "count" }),
    });
    let sample_type: Vec<ValueType> = sample_type.collect();
    let default_sample_type = sample_type.first().map_or(0, |kind| kind.kind);
    let mut functions: FxHashMap<(i64, i64), u64> = FxHashMap::default();
    let mut function = Vec::new();
    let mut location = Vec::new();
    for (at, frame) in stacks.frames.iter().enumerate() {
        let (name, filename) = (texts.add(&frame.name), texts.add(&frame.file));
        let next = function.len() as u64 + 1;
        let function_id = *functions.entry((name, filename)).or_insert_with(|| {
            function.push(Function { id: next, name, filename });
            next
        });
        let line = vec![Line { function_id, line: frame.line.into() }];
        location.push(Location { id: at as u64 + 1, line });
    }
    let key = texts.add("domain");
    let sample = stacks.stacks.iter().map(|(domain, frames, values)| Sample {
        location_id: frames.iter().map(|frame| u64::from(*frame) + 1).collect(),
        value: values.iter().map(|value| i64::try_from(*value).unwrap_or(i64::MAX)).collect(),
        label: vec![Label { key, str: texts.add(domain.name()) }],
    });
    let sample = sample.collect();
    let comment = vec![texts.add(program)];
    let profile = Profile {
        sample_type,
        sample,
        location,
        function,
        string_table: texts.0.into_iter().map(str::to_owned).collect(),
        time_nanos: i64::try_from(started).unwrap_or(i64::MAX),
        duration_nanos: (seconds * 1e9) as i64,
        comment,
        default_sample_type,
    };
    let mut gzip = GzEncoder::new(out, Compression::default());
    gzip.write_all(&profile.encode_to_vec())?;
    gzip.finish()?;
    Ok(())
}
