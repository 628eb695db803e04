//! A function on a call stack, and whose code it is.

use std::sync::Arc;

/// A function on a call stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The function's name, or `module+0xoffset`.
    pub function: String,
    /// File and line, where known.
    pub location: Option<String>,
    /// The object file's name without its folder.
    pub module: Option<Arc<str>>,
    /// Whether the compiler put it into the next place.
    pub inlined: bool,
    /// Whether it is Python of a package that was installed into a folder of another name than packages have.
    pub installed: bool,
    /// What it is.
    pub kind: Kind,
}

/// What a place is. The report's views differ in the kinds that they show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Machine code, and whose.
    Native(Owner),
    /// A Python function; its location is in Python's source.
    Python,
    /// A TensorFlow op.
    Op,
    /// No function, but something that a reader of the stack has to know.
    Note,
}

/// Whose machine code a file holds, judged by where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The user's, or of a package that is not known here.
    User,
    /// The system's: libc and what else came with it; and what has no file.
    System,
    /// A framework's, by its name.
    Framework(&'static str),
}

impl Place {
    /// A function of which nothing else is known.
    pub(crate) fn unnamed(function: impl Into<String>) -> Self {
        Self::of(Kind::Native(Owner::System), function)
    }

    /// Something without a file.
    pub(crate) fn of(kind: Kind, function: impl Into<String>) -> Self {
        let function = function.into();
        Self { function, location: None, module: None, inlined: false, installed: false, kind }
    }

    /// Whether it is a Python function.
    pub fn is_python(&self) -> bool {
        self.kind == Kind::Python
    }

    /// Whether it is machine code.
    pub fn is_native(&self) -> bool {
        matches!(self.kind, Kind::Native(_))
    }
}

/// Folders of packages: their name in a report, and how the files in them begin where they lie
/// elsewhere.
const FRAMEWORKS: [(&str, &[&str], &[&str]); 3] = [
    ("TensorFlow", &["tensorflow"], &["libtensorflow", "_pywrap_tensorflow"]),
    ("NumPy", &["numpy", "numpy.libs"], &["_multiarray_umath."]),
    ("CUDA", &["nvidia"], &["libcuda.so", "libcudart.so", "libcublas", "libcudnn", "libnvidia-"]),
];
/// Where packages are installed.
const PACKAGES: [&str; 2] = ["/site-packages/", "/dist-packages/"];
/// Where the system keeps its libraries, and what it maps without a file.
const SYSTEM: [&str; 5] = ["/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/", "["];

/// Whose code the object file at `path` holds.
pub(crate) fn owner(path: &str) -> Owner {
    let package = PACKAGES.iter().find_map(|packages| path.split_once(packages));
    let folder = package.and_then(|(_, inside)| inside.split('/').next());
    let file = path.rsplit('/').next().unwrap_or(path);
    let framework = FRAMEWORKS.iter().find(|(_, folders, files)| {
        folder.is_some_and(|folder| folders.contains(&folder))
            || files.iter().any(|beginning| file.starts_with(beginning))
    });
    match framework {
        Some((name, ..)) => Owner::Framework(name),
        // Python's own extension modules, wherever it is installed.
        None if path.contains("/lib-dynload/") => Owner::System,
        None if package.is_none() && SYSTEM.iter().any(|place| path.starts_with(place)) => {
            Owner::System
        }
        None => Owner::User,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_framework_is_known_by_its_package_or_its_file() {
        let tensorflow = Owner::Framework("TensorFlow");
        for (path, expected) in [
            ("/v/lib/python3.11/site-packages/tensorflow/libtensorflow_cc.so.2", tensorflow),
            ("/v/lib/python3.11/site-packages/tensorflow/python/_pywrap_x.so", tensorflow),
            ("/opt/serving/libtensorflow_framework.so.2", tensorflow),
            ("/home/me/tensorflow/my_ops.so", Owner::User),
            ("/v/lib/python3.11/site-packages/tensorflow_text/ops.so", Owner::User),
            ("/usr/lib/python3/dist-packages/numpy/core/x.so", Owner::Framework("NumPy")),
            ("/usr/lib/python3/dist-packages/mine/x.so", Owner::User),
            ("/usr/lib/x86_64-linux-gnu/libcuda.so.1", Owner::Framework("CUDA")),
            ("/usr/lib/x86_64-linux-gnu/libc.so.6", Owner::System),
            ("/lib/x86_64-linux-gnu/libc.so.6", Owner::System),
            ("[vdso]", Owner::System),
            (
                "/opt/py/lib/python3.11/lib-dynload/_ctypes.cpython-311-x86_64-linux-gnu.so",
                Owner::System,
            ),
            ("/app/build/libpreprocess.so", Owner::User),
        ] {
            assert_eq!(owner(path), expected, "{path}");
        }
    }
}
