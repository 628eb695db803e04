//! Folders that packages were installed into under a name of their own, as `pip install --target` does: they are known by
//! TensorFlow or a web server being in them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Files of packages, which stand on call stacks of a service, and are nobody's own.
const ANCHORS: [&str; 15] = [
    "/tensorflow/python/",
    "/keras/src/",
    "/numpy/_core/",
    "/numpy/core/",
    "/flask/wrappers.py",
    "/werkzeug/serving.py",
    "/gunicorn/workers/",
    "/uvicorn/protocols/",
    "/starlette/routing.py",
    "/fastapi/routing.py",
    "/aiohttp/web_protocol.py",
    "/tornado/ioloop.py",
    "/waitress/channel.py",
    "/grpc/_server.py",
    "/celery/worker/",
];
/// In these everything is installed.
const KNOWN: [&str; 2] = ["/site-packages", "/dist-packages"];

/// Such folders of one program.
#[derive(Clone, Debug, Default)]
pub struct PackageFolders(Vec<Folder>);

#[derive(Clone, Debug)]
struct Folder {
    /// With a slash at its end.
    path: String,
    /// What of it belongs to packages, as it says itself. `None`: it is not on this machine, and all folders in it count.
    packages: Option<BTreeSet<String>>,
}

impl PackageFolders {
    /// Those of a program whose code is in these files.
    pub fn of<'a>(files: impl IntoIterator<Item = &'a str>) -> Self {
        let folders: BTreeSet<&str> = files.into_iter().filter_map(folder_of_packages).collect();
        let folders = folders.into_iter().map(|path| Folder {
            path: format!("{path}/"),
            packages: installed_in(Path::new(path)),
        });
        Self(folders.collect())
    }

    /// Whether a file belongs to a package in one of them.
    pub fn contain(&self, file: &str) -> bool {
        self.0.iter().any(|folder| {
            let Some(inside) = file.strip_prefix(&folder.path) else { return false };
            let (first, is_folder) = match inside.split_once('/') {
                Some((first, _)) => (first, true),
                None => (inside, false),
            };
            let is_installed =
                folder.packages.as_ref().map_or(is_folder, |names| names.contains(first));
            is_installed
                || ANCHORS.iter().any(|anchor| anchor[1..].starts_with(&format!("{first}/")))
        })
    }
}

/// The folder that a file's package lies in, if it is a package that tells.
fn folder_of_packages(file: &str) -> Option<&str> {
    let folder = ANCHORS.iter().find_map(|anchor| Some(&file[..file.find(anchor)?]))?;
    (!folder.is_empty() && !KNOWN.iter().any(|known| folder.ends_with(known))).then_some(folder)
}

/// The names in a folder that its records of installation (`*.dist-info/RECORD`) list: `flask`, `six.py`.
fn installed_in(folder: &Path) -> Option<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).ok()?.flatten() {
        if !entry.file_name().as_encoded_bytes().ends_with(b".dist-info") {
            continue;
        }
        // A record is lines of a path, a checksum and a size.
        let record = fs::read(entry.path().join("RECORD")).unwrap_or_default();
        let record = String::from_utf8_lossy(&record);
        let paths = record.lines().filter_map(|line| line.split([',', '/']).next());
        names.extend(paths.map(|name| name.trim_matches('"').to_owned()));
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_tensorflow_in_it_has_packages() {
        let files =
            ["/elsewhere/deps/tensorflow/python/ops/a.py", "/v/site-packages/keras/src/a.py"];
        let folders = PackageFolders::of(files);
        assert!(folders.contain("/elsewhere/deps/tensorflow/python/ops/b.py"));
        assert!(folders.contain("/elsewhere/deps/flask/app.py"), "it is not on this machine");
        assert!(!folders.contain("/elsewhere/deps/handler.py"), "a file beside them");
        assert!(
            !folders.contain("/elsewhere/serve.py") && !folders.contain("/v/site-packages/x/y.py")
        );
    }

    #[test]
    fn what_was_installed_there_is_read_where_it_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let info = folder.path().join("flask-3.dist-info");
        fs::create_dir(&info).unwrap();
        let record =
            "flask/__init__.py,sha256=a,1\nsix.py,sha256=b,2\n../../bin/flask,sha256=c,3\n";
        fs::write(info.join("RECORD"), record).unwrap();
        let at = |file: &str| folder.path().join(file).to_str().unwrap().to_owned();
        let folders = PackageFolders::of([at("numpy/_core/a.py").as_str()]);
        assert!(
            ["flask/app.py", "six.py", "numpy/ma/core.py"]
                .iter()
                .all(|file| folders.contain(&at(file)))
        );
        assert!(["service/app.py", "handler.py"].iter().all(|file| !folders.contain(&at(file))));
    }
}
