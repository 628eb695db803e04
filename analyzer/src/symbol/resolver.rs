//! Names the frames that will be shown, object file by object file.
//!
//! Never looks up an address that nobody asked for, and never holds two object files at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use tftrace_format::reader::{CodeObject, LoadedObject, Op, Trace};
use tftrace_format::{CodeId, CudaKind, CudaMemory, Frame};

use super::object_file::look_up;
use super::place::{Kind, Owner, Place, owner};
use crate::parallel::both;
use crate::progress::Progress;
use crate::python::{Lines, PackageFolders};

/// Names of frames.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    places: FxHashMap<Frame, Vec<Place>>,
    warnings: Vec<String>,
}

impl Symbols {
    /// The functions of a frame, innermost first. Empty for a frame that was not asked for.
    pub fn places(&self, frame: Frame) -> &[Place] {
        self.places.get(&frame).map(Vec::as_slice).unwrap_or_default()
    }

    /// All frames that have names, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Frame, &[Place])> {
        self.places.iter().map(|(frame, places)| (*frame, places.as_slice()))
    }

    /// These names, for tests of what is made of names.
    #[cfg(test)]
    pub(crate) fn of(places: impl IntoIterator<Item = (Frame, Vec<Place>)>) -> Self {
        Self { places: places.into_iter().collect(), warnings: Vec::new() }
    }

    /// Object files without names: one line each, with the reason.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// The name of a path's last part.
pub(crate) fn module_name(path: &[u8]) -> String {
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
    if name.is_empty() { "[unknown]".into() } else { String::from_utf8_lossy(name).into_owned() }
}

/// Frames of one object file, with their addresses in the file's own numbering.
#[derive(Default)]
struct Wanted(Vec<(u64, Frame)>);

/// Names these frames.
pub fn resolve(trace: &Trace<'_>, frames: &FxHashSet<Frame>) -> Symbols {
    let (native, mut symbols) = both(|| native(trace, frames), || others(trace, frames));
    symbols.places.extend(native.places);
    symbols.warnings = native.warnings;
    symbols
}

/// Names native frames.
fn native(trace: &Trace<'_>, frames: &FxHashSet<Frame>) -> Symbols {
    let mut symbols = Symbols::default();
    let mut files: BTreeMap<(&[u8], &[u8]), Wanted> = BTreeMap::new();
    for &frame in frames {
        let Frame::Native { mapping, offset } = frame else { continue };
        let Some(object) = trace.object(mapping) else {
            let name = format!("[object {}]+{offset:#x}", mapping.0);
            symbols.places.insert(frame, vec![Place::unnamed(name)]);
            continue;
        };
        let key = (path_of(trace, object), object.build_id.as_slice());
        files.entry(key).or_default().0.push((object.file_address(offset), frame));
    }
    let progress = Progress::begin("reading symbols", files.len() as u64);
    for (at, ((path, build_id), wanted)) in files.into_iter().enumerate() {
        symbols.name_file(path, build_id, wanted);
        progress.at(at as u64 + 1);
    }
    symbols
}

/// Names frames that are in no object file.
fn others(trace: &Trace<'_>, frames: &FxHashSet<Frame>) -> Symbols {
    let functions = functions(trace, frames);
    let named = frames.iter().filter_map(|&frame| {
        let place = match frame {
            // What the last two say, the report says otherwise: they are no frames.
            Frame::Native { .. } | Frame::For(_) | Frame::Pool(_) => return None,
            Frame::Raw { address } => Place::unnamed(format!("{address:#x}")),
            Frame::Python { code, instruction } => functions[&code].place(instruction),
            Frame::Scheduled => Place::of(Kind::Note, "[scheduled by]"),
            Frame::Op(op) => Place::of(Kind::Op, op_name(trace.op(op))),
            Frame::Cuda(memory) => Place::of(Kind::Note, cuda_name(memory)),
            Frame::Truncated => {
                Place::of(Kind::Note, "[frames left out: deeper than TFTRACE_DEPTH]")
            }
            Frame::Unknown => Place::of(Kind::Note, "[unknown frames]"),
        };
        Some((frame, vec![place]))
    });
    Symbols { places: named.collect(), warnings: Vec::new() }
}

/// Python's functions on these frames.
fn functions<'a>(
    trace: &'a Trace<'_>,
    frames: &FxHashSet<Frame>,
) -> FxHashMap<CodeId, PythonCode<'a>> {
    let codes: FxHashSet<CodeId> = frames
        .iter()
        .filter_map(|frame| match frame {
            Frame::Python { code, .. } => Some(*code),
            _ => None,
        })
        .collect();
    let files = codes.iter().filter_map(|code| Some(trace.code(*code)?.file.as_str()));
    let folders = PackageFolders::of(files);
    codes.into_iter().map(|code| (code, PythonCode::of(trace, code, &folders))).collect()
}

/// What the frames of one code object have in common; `None` if it is not in the trace.
struct PythonCode<'a>(Option<Function<'a>>);

struct Function<'a> {
    code: &'a CodeObject,
    lines: Lines,
    module: Arc<str>,
    installed: bool,
}

impl<'a> PythonCode<'a> {
    fn of(trace: &'a Trace<'_>, code: CodeId, folders: &PackageFolders) -> Self {
        Self(trace.code(code).map(|code| Function {
            code,
            lines: Lines::of(code),
            // Functions of one name in two files are two.
            module: Arc::from(module_name(code.file.as_bytes())),
            installed: folders.contain(&code.file),
        }))
    }

    fn place(&self, instruction: u32) -> Place {
        let Some(Function { code, lines, module, installed }) = &self.0 else {
            return Place::of(Kind::Python, "[Python function]");
        };
        let location = match lines.line(instruction) {
            Some(line) => format!("{}:{line}", code.file),
            // Instructions that the compiler added for itself.
            None => code.file.clone(),
        };
        let module = Some(Arc::clone(module));
        let function = Place::of(Kind::Python, code.name.as_str());
        Place { location: Some(location), module, installed: *installed, ..function }
    }
}

/// Memory of CUDA's as `[device 0]`, `[managed]`, `[pinned]`.
fn cuda_name(memory: CudaMemory) -> String {
    match (memory.kind, memory.device) {
        (CudaKind::Device, Some(device)) => format!("[device {device}]"),
        (CudaKind::Device, None) => "[device unknown]".into(),
        (kind, _) => format!("[{}]", kind.name()),
    }
}

/// An op as `op serving/dense/MatMul (output, float32)`.
fn op_name(op: Option<&Op>) -> String {
    let Some(op) = op else { return "op unknown".into() };
    let name = if op.name.is_empty() { "unknown" } else { &op.name };
    let details = [Some(op.region.as_str()), element_type(op.data_type)];
    let details: Vec<&str> =
        details.into_iter().flatten().filter(|text| !text.is_empty()).collect();
    match details.is_empty() {
        true => format!("op {name}"),
        false => format!("op {name} ({})", details.join(", ")),
    }
}

/// The name of an element type, as Python writes it; numbers as in TensorFlow's `types.proto`.
fn element_type(number: u32) -> Option<&'static str> {
    const NAMES: [&str; 31] = [
        "",
        "float32",
        "float64",
        "int32",
        "uint8",
        "int16",
        "int8",
        "string",
        "complex64",
        "int64",
        "bool",
        "qint8",
        "quint8",
        "qint32",
        "bfloat16",
        "qint16",
        "quint16",
        "uint16",
        "complex128",
        "float16",
        "resource",
        "variant",
        "uint32",
        "uint64",
        "float8_e5m2",
        "float8_e4m3fn",
        "float8_e4m3fnuz",
        "float8_e4m3b11fnuz",
        "float8_e5m2fnuz",
        "int4",
        "uint4",
    ];
    // References to variables are numbered from 101 on.
    NAMES.get(if number > 100 { number - 100 } else { number } as usize).copied()
}

/// The loader gives the executable itself no name.
fn path_of<'a>(trace: &'a Trace<'_>, object: &'a LoadedObject) -> &'a [u8] {
    if object.path.is_empty() { trace.header().executable } else { &object.path }
}

impl Symbols {
    fn name_file(&mut self, path: &[u8], build_id: &[u8], wanted: Wanted) {
        if path == b"linux-vdso.so.1" || path == b"[vdso]" {
            return self.name_by_offset("[vdso]", Owner::System, wanted);
        }
        let module = module_name(path);
        let owner = owner(&String::from_utf8_lossy(path));
        // A frame holds the return address; the call before it is what is shown.
        let call = |address: u64| address.wrapping_sub(1);
        let mut addresses: Vec<u64> = wanted.0.iter().map(|(address, _)| call(*address)).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let functions = match look_up(path, build_id, &addresses) {
            Ok(functions) => functions,
            Err(reason) => {
                let path = String::from_utf8_lossy(path);
                self.warnings.push(format!("{path}: no function names: {reason}"));
                return self.name_by_offset(&module, owner, wanted);
            }
        };
        let shared: Arc<str> = Arc::from(module.as_str());
        for (address, frame) in wanted.0 {
            let Ok(at) = addresses.binary_search(&call(address)) else { continue };
            let last = functions[at].len().saturating_sub(1);
            let places = functions[at].iter().enumerate().map(|(depth, function)| {
                let name = function.name.clone();
                Place {
                    location: function.location.clone(),
                    module: Some(Arc::clone(&shared)),
                    inlined: depth < last,
                    ..Place::of(
                        Kind::Native(owner),
                        name.unwrap_or_else(|| format!("{module}+{address:#x}")),
                    )
                }
            });
            let places = places.collect();
            self.places.insert(frame, places);
        }
    }

    fn name_by_offset(&mut self, module: &str, owner: Owner, wanted: Wanted) {
        for (address, frame) in wanted.0 {
            let name = format!("{module}+{address:#x}");
            self.places.insert(frame, vec![Place::of(Kind::Native(owner), name)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tftrace_format::builder::{Packing, TraceBuilder};

    #[test]
    fn frames_without_a_file_have_names_and_one_warning_a_module() {
        let mut builder = TraceBuilder::new();
        let gone = builder.object("/nowhere/libgone.so (deleted)", 0x10_0000, 0x9000, &[1; 20]);
        let vdso = builder.object("linux-vdso.so.1", 0x20_0000, 0x1000, &[]);
        let bytes = builder.build(Packing::Raw);
        let trace = Trace::open(&bytes).unwrap();
        let expected = [
            (Frame::Native { mapping: gone, offset: 0x10 }, "libgone.so+0x10"),
            (Frame::Native { mapping: gone, offset: 0x20 }, "libgone.so+0x20"),
            (Frame::Native { mapping: vdso, offset: 0x30 }, "[vdso]+0x30"),
            (Frame::Raw { address: 0x40 }, "0x40"),
        ];
        let symbols = resolve(&trace, &expected.iter().map(|(frame, _)| *frame).collect());
        for (frame, name) in expected {
            let [place] = symbols.places(frame) else { panic!("{name}") };
            assert_eq!((place.function.as_str(), place.is_native()), (name, true));
        }
        let gone =
            "/nowhere/libgone.so (deleted): no function names: the file is gone or cannot be read";
        assert_eq!(symbols.warnings(), [gone]);
    }

    #[test]
    fn a_package_in_a_folder_of_another_name_is_not_the_users_own() {
        use tftrace_format::record::{Code, LineTable, Record};
        let mut builder = TraceBuilder::new();
        let files =
            ["/nowhere/deps/uvicorn/protocols/h.py", "/nowhere/deps/x/y.py", "/nowhere/a.py"];
        for (id, file) in (1..).map(CodeId).zip(files) {
            let (name, file) = (&b"f"[..], file.as_bytes());
            let line_table = LineTable::Locations;
            builder.record(&Record::Code(Code {
                id,
                first_line: 1,
                name,
                file,
                line_table,
                lines: &[],
            }));
        }
        let bytes = builder.build(Packing::Raw);
        let trace = Trace::open(&bytes).unwrap();
        let frame = |code| Frame::Python { code: CodeId(code), instruction: 0 };
        let symbols = resolve(&trace, &(1..=3).map(frame).collect());
        let own = |code| crate::python::is_user_function(&symbols.places(frame(code))[0]);
        assert_eq!([1, 2, 3].map(own), [false, false, true]);
    }

    #[test]
    fn this_program_finds_its_own_functions_with_file_and_line() {
        let mut builder = TraceBuilder::new();
        let path = std::env::current_exe().unwrap();
        let mapped = crate::input::MappedFile::open(&path).unwrap();
        let file = object::File::parse(mapped.bytes()).unwrap();
        use object::{Object, ObjectSymbol};
        let symbol = file
            .symbols()
            .find(|symbol| symbol.name().is_ok_and(|name| name.contains("marker_function")))
            .unwrap();
        let build_id = file.build_id().unwrap().unwrap_or_default();
        let path = path.to_str().unwrap();
        let right = builder.object(path, 0x1000_0000, 1 << 30, build_id);
        let wrong = builder.object(path, 0x9000_0000, 1 << 30, &[9; 20]);
        let bytes = builder.build(Packing::Raw);
        let trace = Trace::open(&bytes).unwrap();
        // The builder maps file address 0 at the start, and the frame is a return address.
        let offset = symbol.address() + 1;
        let (right, wrong) =
            (Frame::Native { mapping: right, offset }, Frame::Native { mapping: wrong, offset });
        let symbols = resolve(&trace, &[right, wrong].into_iter().collect());
        let place = symbols.places(right).last().unwrap();
        assert!(place.function.ends_with("marker_function"), "{place:?}");
        assert!(place.location.as_ref().unwrap().contains("resolver.rs:"), "{place:?}");
        assert!(symbols.places(wrong)[0].function.contains("+0x"));
        assert_eq!(symbols.warnings().len(), 1);
        assert!(symbols.warnings()[0].ends_with("another build than the one that was traced"));
        assert_eq!(marker_function(2), 5);
    }

    #[inline(never)]
    fn marker_function(number: u64) -> u64 {
        std::hint::black_box(number) + 3
    }
}
