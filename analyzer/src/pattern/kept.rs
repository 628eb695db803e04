//! What is kept, where no function says why: tensors, arrays, objects of Python's.

use super::MOST;
use super::growth::Growth;
use super::known::is_native;
use crate::model::{Pattern, Suspect, Verdict};
use crate::symbol::{Kind, Place};

/// Patterns of which the question is what keeps the memory.
const KEPT: [&str; 5] =
    ["results-kept", "arrays-kept", "small-objects-kept", "objects-kept", "dataset-elements-kept"];

/// Functions below which ops run.
const RUN_OPS: [&str; 4] =
    ["TFE_Execute", "TFE_Py_FastPathExecute", "TFE_Py_ExecuteCancelable", "EagerTensor"];

/// Tensors, or arrays, that something refers to.
pub(super) fn results(growth: &Growth<'_>, suspect: &Suspect) -> Option<Pattern> {
    suspect.your_line.as_ref()?;
    let is_tensor = |place: &&Place| place.kind == Kind::Op;
    let tensors = growth.bytes(|places| places.iter().any(is_tensor));
    let by_ops = growth
        .bytes(|places| places.iter().any(|place| is_tensor(place) || is_native(place, &RUN_OPS)));
    if growth.has(by_ops, MOST) {
        return Some(of_ops(growth, tensors, by_ops));
    }
    let arrays = growth.bytes(|places| {
        places
            .iter()
            .any(|place| is_native(place, &["PyArray_NewFromDescr", "PyArray_NewLikeArray"]))
    });
    growth.has(arrays, MOST).then(|| Pattern {
        id: "arrays-kept",
        sentence:
            "The NumPy arrays that are made here are kept: something in Python still refers to them."
                .into(),
        remedy: "Look for a list, dict, cache, closure or attribute that this result is put into; keep a number \
                 instead of an array, or bound the container."
            .into(),
        evidence: vec![format!("{} is the memory of NumPy arrays", growth.share_in_words(arrays))],
    })
}

/// What ops make is kept, of which so much are tensors. Of a resource, such as a table, the tensor is only its name.
fn of_ops(growth: &Growth<'_>, tensors: f64, by_ops: f64) -> Pattern {
    let (sentence, remedy, evidence) = match tensors >= MOST * by_ops {
        true => (
            "The tensors that are made here are kept: something in Python or TensorFlow still refers to them.",
            "Look for a list, dict, cache, closure or attribute that this result is put into, or for a queue, table or \
             dataset of TensorFlow's that it is fed to; keep a number instead of a tensor (float(x)), or bound the \
             container.",
            format!("{} is the memory of tensors", growth.share_in_words(by_ops)),
        ),
        false => (
            "What ops make here is kept, small tensors or things such as variables, tables and writers: something in \
             Python or TensorFlow still refers to it.",
            "Look for a list, dict, cache, closure or attribute that the result, or the object it belongs to, is put \
             into; make such things once and use them again, or bound the container.",
            format!(
                "{} was allocated where ops ran; {:.0} % is the memory of tensors itself",
                growth.share_in_words(by_ops),
                100.0 * tensors / growth.sum
            ),
        ),
    };
    Pattern {
        id: "results-kept",
        sentence: sentence.into(),
        remedy: remedy.into(),
        evidence: vec![evidence],
    }
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
