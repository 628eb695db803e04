//! Causes that are told by the functions that the growth passes through.

use super::MOST;
use super::growth::Growth;
use crate::model::Pattern;
use crate::suspect::is_tracing;
use crate::symbol::Place;

/// Tracing leaves more behind than it allocates itself: graphs are optimized and instantiated by the
/// first call. Traced once, it would have no share in what keeps growing.
const TRACED: f64 = 0.15;
/// What is made is made use of, and allocates more then than when it was made.
const CREATED: f64 = 0.15;
/// Where `tf.data` is, and its functions that read an element.
const DATASETS: &str = "/tensorflow/python/data/";
const NEXT: [&str; 5] = ["__next__", "_next_internal", "next", "get_next", "generator_py_func"];
/// One known cause.
struct Known {
    id: &'static str,
    /// Whether a frame of a stack is evidence of it.
    shows: fn(&Place) -> bool,
    /// This share of the growth must show it.
    least: f64,
    /// What such frames are, in a sentence that begins with the share.
    evidence: &'static str,
    sentence: &'static str,
    remedy: &'static str,
}

/// In the order in which they are looked for; the first that fits is the cause.
const KNOWN: [Known; 12] = [
    Known {
        id: "predict-in-a-loop",
        least: MOST,
        shows: |place| in_python(place, "/keras/", &["predict"]),
        evidence: "passes through Keras' Model.predict",
        sentence: "Model.predict is called for each request: it builds a dataset, an iterator and often a \
                   new graph every time.",
        remedy: "Call the model itself, model(x, training=False), or predict_on_batch; keep predict for \
                 whole datasets.",
    },
    Known {
        id: "tf-function-retracing",
        least: TRACED,
        shows: |place| {
            is_tracing(place)
                || in_python(place, "/tensorflow/python/eager/", &["_create_concrete_function"])
        },
        evidence: "was allocated while a tf.function was traced",
        sentence: "A tf.function is traced anew again and again, and keeps every graph it made.",
        remedy: "Pass tensors instead of Python numbers, give the tf.function an input_signature or \
                 reduce_retracing=True, and create it once, outside of the request.",
    },
    Known {
        id: "model-loaded-repeatedly",
        least: MOST,
        shows: |place| {
            in_python(place, "/keras/", &["load_model", "clone_model", "model_from_json"])
                || in_python(place, "/tensorflow/", &["load_internal", "load_partial"])
        },
        evidence: "passes through the loading of a model",
        sentence: "A model is loaded again and again, and the earlier ones are kept.",
        remedy: "Load the model once, at start-up. If it must be exchanged, drop every reference to the old \
                 one and call tf.keras.backend.clear_session().",
    },
    Known {
        id: "model-created-repeatedly",
        least: MOST,
        shows: |place| {
            in_python(
                place,
                "/keras/",
                &["build", "Sequential.__init__", "Functional.__init__", "add_weight"],
            )
        },
        evidence: "passes through the building of a Keras layer or model",
        sentence: "Layers or models are created again and again, and the earlier ones are kept.",
        remedy: "Create the model once, outside of the request.",
    },
    Known {
        id: "dataset-read-to-its-end",
        least: MOST,
        // What the end of an iterator aborts stays in the cache of rendezvous: TensorFlow 2.21, one for each
        // time that a for loop over a dataset ends, 520 bytes.
        shows: |place| {
            is_native(place, &["LocalRendezvousCache::FindOrCreate", "LocalRendezvous::DoAbort"])
        },
        evidence: "is what TensorFlow keeps of a step that was aborted, as by the end of a dataset",
        sentence: "A dataset is read to its end again and again, and TensorFlow itself keeps a little of each \
                   time: it is not your code that does.",
        remedy: "Let the iterator not end: make it once with iter(dataset.repeat()), and take as many steps \
                 as there are.",
    },
    Known {
        id: "lookup-table-grows",
        least: MOST,
        shows: |place| is_native(place, &["tensorflow::lookup::Mutable"]),
        evidence: "was allocated by a lookup table of TensorFlow's",
        sentence: "A lookup table of TensorFlow's keeps every key that was ever inserted.",
        remedy: "Remove keys that are no longer needed, table.remove(keys), or insert none that are new in each \
                 request.",
    },
    Known {
        id: "dataset-created-repeatedly",
        least: CREATED,
        shows: |place| in_python(place, DATASETS, &[]) && !in_python(place, DATASETS, &NEXT),
        evidence: "passes through the making of a dataset or an iterator of tf.data",
        sentence: "Datasets or iterators are created again and again, and the earlier ones are kept.",
        remedy: "Create the dataset once, or feed the model with tensors.",
    },
    Known {
        id: "dataset-elements-kept",
        least: MOST,
        shows: |place| in_python(place, DATASETS, &NEXT),
        evidence: "was made when the next element of a dataset was asked for",
        sentence: "Elements of a dataset are kept: by what they are put into, or by cache() in the dataset itself.",
        remedy: "Look for a container that elements are put into. In memory, Dataset.cache() keeps every element \
                 that is read: leave it out where elements do not come again, or give it a file's name.",
    },
    Known {
        id: "graph-grows",
        least: MOST,
        shows: |place| {
            in_python(
                place,
                "/tensorflow/python/framework/",
                &["_create_op_internal", "_create_op_from_tf_operation", "_create_c_op"],
            ) || is_native(
                place,
                &[
                    "DirectSession::Extend",
                    "DirectSession::GetOrCreateExecutors",
                    "TF_FinishOperation",
                    "ExtendSessionGraphHelper",
                ],
            )
        },
        evidence: "was allocated where ops are added to a graph, or where a session takes over a graph that \
                   has grown",
        sentence: "A TensorFlow 1 graph grows: ops are created for each request, and a graph never forgets one.",
        remedy: "Build all ops before the first request, and call tf.compat.v1.get_default_graph().finalize(): \
                 then the line that adds an op raises an error.",
    },
    Known {
        id: "primitive-cache",
        least: MOST,
        shows: |place| is_native(place, &["PrimitiveFactory", "primitive_cache", "LRUCache"]),
        evidence: "passes through a cache of compiled primitives",
        sentence: "oneDNN compiles a primitive for every new shape, and its cache keeps them.",
        remedy: "Pad inputs to a few fixed shapes, or bound the cache: TF_MKL_OPTIMIZE_PRIMITIVE_MEMUSE=true, \
                 ONEDNN_PRIMITIVE_CACHE_CAPACITY.",
    },
    Known {
        id: "threads-never-joined",
        least: MOST,
        shows: |place| is_native(place, &["pthread_create", "allocate_stack", "_dl_allocate_tls"]),
        evidence: "was allocated where threads are started",
        sentence: "Threads are started and neither end nor are joined.",
        remedy: "Use one thread pool for all requests, and join threads that are done.",
    },
    Known {
        id: "unbounded-function-cache",
        least: MOST,
        shows: |place| is_native(place, &["infinite_lru_cache_wrapper"]),
        evidence: "was allocated by a function whose results functools.lru_cache keeps without a bound",
        sentence: "functools.cache, or lru_cache(maxsize=None), keeps the result for every argument ever seen.",
        remedy: "Give lru_cache a maxsize, or do not cache by arguments that are new in each request.",
    },
];

/// A cause that is in the table.
pub(super) fn of(growth: &Growth<'_>) -> Option<Pattern> {
    KNOWN.iter().find_map(|known| {
        let bytes = growth.bytes(|places| places.iter().any(|place| (known.shows)(place)));
        growth.has(bytes, known.least).then(|| Pattern {
            id: known.id,
            sentence: known.sentence.to_owned(),
            remedy: known.remedy.to_owned(),
            evidence: vec![format!("{} {}", growth.share_in_words(bytes), known.evidence)],
        })
    })
}

/// A Python function of one of these names in a file whose path contains `folder`; any name if there
/// are none.
pub(super) fn in_python(place: &Place, folder: &str, names: &[&str]) -> bool {
    // Names are qualified since Python 3.11.
    let ends_with = |name: &&str| {
        place
            .function
            .strip_suffix(*name)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    place.is_python()
        && place.location.as_deref().is_some_and(|file| file.contains(folder))
        && (names.is_empty() || names.iter().any(ends_with))
}

/// Machine code whose name contains one of these.
pub(super) fn is_native(place: &Place, names: &[&str]) -> bool {
    place.is_native() && names.iter().any(|name| place.function.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbol::Kind;

    fn first_of(function: &str) -> Option<&'static str> {
        let place = Place::unnamed(function);
        KNOWN.iter().find(|known| (known.shows)(&place)).map(|known| known.id)
    }

    /// The names as they stand in TensorFlow 2.21.
    #[test]
    fn what_the_end_of_a_dataset_leaves_is_not_said_to_be_the_dataset() {
        let ends = Some("dataset-read-to-its-end");
        assert_eq!(first_of("tensorflow::LocalRendezvous::DoAbort"), ends);
        assert_eq!(first_of("tensorflow::EagerContext::LocalRendezvousCache::FindOrCreate"), ends);
        assert_eq!(first_of("tensorflow::LocalRendezvous::Send"), None);
    }

    #[test]
    fn tables_are_told_by_their_functions() {
        let insert =
            |table: &str| first_of(&format!("tensorflow::lookup::{table}<long>::DoInsert"));
        assert_eq!(insert("MutableHashTableOfScalars"), Some("lookup-table-grows"));
        assert_eq!(insert("LookupInterface"), None);
    }

    #[test]
    fn to_read_a_dataset_is_not_to_make_one() {
        let first_of = |function: &str, file: &str| {
            let location = Some(format!("/v/site-packages/tensorflow/python/data/ops/{file}.py:7"));
            let place = Place { location, ..Place::of(Kind::Python, function) };
            KNOWN.iter().find(|known| (known.shows)(&place)).map(|known| known.id)
        };
        for function in ["OwnedIterator.__next__", "OwnedIterator._next_internal", "_next_internal"]
        {
            assert_eq!(first_of(function, "iterator_ops"), Some("dataset-elements-kept"));
        }
        let created = Some("dataset-created-repeatedly");
        assert_eq!(first_of("OwnedIterator.__init__", "iterator_ops"), created);
        assert_eq!(first_of("DatasetV2.from_tensor_slices", "dataset_ops"), created);
    }
}
