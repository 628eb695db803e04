//! The frames of the flame graphs, each once: what it is called, where it is, whose it is.

use rustc_hash::FxHashMap;
use serde::Serialize;
use serde::ser::SerializeTuple;

use crate::python;
use crate::symbol::{Kind, Place};

/// The number of a frame in the table.
pub type FrameId = u32;

/// What a frame is, and whose; the number that the page's script knows it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameClass {
    /// A Python function of the user's.
    YourPython = 0,
    /// Another Python function.
    Python = 1,
    /// Native code of the user's.
    YourNative = 2,
    /// Other native code.
    Native = 3,
    /// A TensorFlow op.
    Op = 4,
    /// No function: a domain, a run of folded frames, frames that are missing.
    Note = 5,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GraphFrame {
    /// What it is.
    pub class: FrameClass,
    /// The function's name.
    pub function: String,
    /// File and line, where known.
    pub location: Option<String>,
    /// The object file's name.
    pub module: Option<String>,
}

impl Serialize for GraphFrame {
    /// A tuple: a page has tens of thousands.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(4)?;
        tuple.serialize_element(&(self.class as u8))?;
        tuple.serialize_element(&self.function)?;
        tuple.serialize_element(self.location.as_deref().unwrap_or_default())?;
        tuple.serialize_element(self.module.as_deref().unwrap_or_default())?;
        tuple.end()
    }
}

impl GraphFrame {
    /// A frame that is no function.
    pub fn note(text: impl Into<String>) -> Self {
        Self { class: FrameClass::Note, function: text.into(), location: None, module: None }
    }

    /// A function of a resolved stack.
    pub(super) fn of(place: &Place) -> Self {
        let is_yours = python::user_place(&[place]).is_some();
        let class = match place.kind {
            Kind::Python if is_yours => FrameClass::YourPython,
            Kind::Python => FrameClass::Python,
            Kind::Native(_) if is_yours => FrameClass::YourNative,
            Kind::Native(_) => FrameClass::Native,
            Kind::Op => FrameClass::Op,
            Kind::Note => FrameClass::Note,
        };
        Self {
            class,
            function: place.function.clone(),
            location: place.location.clone(),
            module: place.module.as_deref().map(str::to_owned),
        }
    }
}

/// Frames by number.
#[derive(Clone, Debug, Default)]
pub struct FrameTable {
    frames: Vec<GraphFrame>,
    ids: FxHashMap<GraphFrame, FrameId>,
}

impl FrameTable {
    /// The number of a frame, given at first sight.
    pub fn id(&mut self, frame: GraphFrame) -> FrameId {
        let next = self.frames.len() as FrameId;
        *self.ids.entry(frame).or_insert_with_key(|frame| {
            self.frames.push(frame.clone());
            next
        })
    }

    /// Takes in the frames of another table; gives what is now the number of each, by its number there.
    pub(super) fn take_in(&mut self, other: FrameTable) -> Vec<FrameId> {
        other.frames.into_iter().map(|frame| self.id(frame)).collect()
    }

    /// The frame of a number that this table gave.
    pub fn get(&self, id: FrameId) -> Option<&GraphFrame> {
        self.frames.get(id as usize)
    }
}
