//! What is kept, where no function says why: tensors, arrays, objects of Python's.

use super::MOST;
use super::growth::Growth;
use super::known::is_native;
use crate::model::{Pattern, Suspect, Verdict};
use crate::symbol::Kind;

/// Patterns of which the question is what keeps the memory.
const KEPT: [&str; 5] =
    ["results-kept", "arrays-kept", "small-objects-kept", "objects-kept", "dataset-elements-kept"];

/// Tensors, or arrays, that something refers to.
pub(super) fn results(growth: &Growth<'_>, suspect: &Suspect) -> Option<Pattern> {
    suspect.your_line.as_ref()?;
    let tensors = growth.bytes(|places| {
        places.iter().any(|place| {
            place.kind == Kind::Op
                || is_native(
                    place,
                    &[
                        "TFE_Execute",
                        "TFE_Py_FastPathExecute",
                        "TFE_Py_ExecuteCancelable",
                        "EagerTensor",
                    ],
                )
        })
    });
    let arrays = growth.bytes(|places| {
        places
            .iter()
            .any(|place| is_native(place, &["PyArray_NewFromDescr", "PyArray_NewLikeArray"]))
    });
    // Tensors are also kept by what they are fed to.
    let (id, what, bytes, by, or) = match growth.has(tensors, MOST) {
        true => {
            let or = ", or for a queue, table or dataset of TensorFlow's that it is fed to";
            ("results-kept", "tensors", tensors, "Python or TensorFlow", or)
        }
        false if growth.has(arrays, MOST) => ("arrays-kept", "NumPy arrays", arrays, "Python", ""),
        false => return None,
    };
    Some(Pattern {
        id,
        sentence: format!(
            "The {what} that are made here are kept: something in {by} still refers to them."
        ),
        remedy: format!(
            "Look for a list, dict, cache, closure or attribute that this result is put into{or}; keep a \
             number instead of a tensor (float(x)), or bound the container."
        ),
        evidence: vec![format!("{} is the memory of {what}", growth.share_in_words(bytes))],
    })
}

/// Objects of Python's that something refers to; of small ones it is not sure at which line.
pub(super) fn objects(growth: &Growth<'_>, suspect: &Suspect) -> Option<Pattern> {
    if suspect.verdict != Verdict::Leak {
        return None;
    }
    let share = |bytes: f64| bytes / growth.sum;
    let look = "Look for a list, dict, cache, closure or attribute that something is put into for each request";
    if share(growth.passed_on) >= MOST {
        return Some(Pattern {
            id: "small-objects-kept",
            sentence:
                "Small objects of Python's are kept: tuples, lists, dicts or floats, by their size."
                    .into(),
            remedy: format!(
                "{look}. It may be filled at another line of the same request: Python gives the memory of such an \
                 object to the next one without asking for new, and what is named here is the line that found none \
                 left."
            ),
            evidence: vec![format!(
                "{:.0} % of the growth are blocks of Python's of 24, or of 48 to 200 bytes",
                100.0 * share(growth.passed_on)
            )],
        });
    }
    (share(growth.python) >= MOST && suspect.your_line.is_some()).then(|| Pattern {
        id: "objects-kept",
        sentence: "Objects of Python's that are made here are kept: something in Python still refers to them.".into(),
        remedy: format!("{look}, and bound it."),
        evidence: vec![format!(
            "{:.0} % of the growth is the memory of Python's objects",
            100.0 * share(growth.python)
        )],
    })
}

/// The same, with what grows meanwhile, if the question is what keeps the memory.
pub(super) fn with_containers(mut pattern: Pattern, containers: &[String]) -> Pattern {
    if let [first, ..] = containers
        && KEPT.contains(&pattern.id)
    {
        pattern.evidence.push(format!("what may keep it: {}", containers.join("; ")));
        pattern.remedy = format!("Look first at {first}. {}", pattern.remedy);
    }
    pattern
}
