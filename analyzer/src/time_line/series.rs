//! The memory of one call stack, or of several together, over time.

/// Memory of one call stack, or of several, over time: one number for each window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Bytes live before the first window.
    pub before: f64,
    /// Bytes live when the window ended.
    pub live: Vec<f64>,
    /// Bytes allocated in the window that are live at the end.
    pub kept: Vec<f64>,
    /// Blocks of these.
    pub kept_blocks: Vec<f64>,
    /// Of the bytes, those that Python's collection at exit freed, before it took anything apart:
    /// nothing held them.
    pub garbage: Vec<f64>,
    /// Blocks of these.
    pub garbage_blocks: Vec<f64>,
}

/// What of a series may be idle in free lists of Python's, by window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Idle {
    /// Bytes, of those kept.
    pub bytes: Vec<f64>,
    /// Blocks of these.
    pub blocks: Vec<f64>,
    /// How many there are of the most frequent size, but for young ones.
    pub most: f64,
}

impl Idle {
    /// The same from a window on.
    pub fn since(&self, window: usize) -> Self {
        let cut = |values: &[f64]| values.get(window..).unwrap_or_default().to_vec();
        Self { bytes: cut(&self.bytes), blocks: cut(&self.blocks), most: self.most }
    }
}

impl Series {
    /// Nothing, in so many windows.
    pub fn new(windows: usize) -> Self {
        let zeros = vec![0.0; windows];
        Self {
            before: 0.0,
            live: zeros.clone(),
            kept: zeros.clone(),
            kept_blocks: zeros.clone(),
            garbage: zeros.clone(),
            garbage_blocks: zeros,
        }
    }

    /// The same from a window on.
    pub fn since(&self, window: usize) -> Self {
        let cut = |values: &[f64]| values.get(window..).unwrap_or_default().to_vec();
        let before = window.checked_sub(1).and_then(|before| self.live.get(before));
        Self {
            before: before.copied().unwrap_or(self.before),
            live: cut(&self.live),
            kept: cut(&self.kept),
            kept_blocks: cut(&self.kept_blocks),
            garbage: cut(&self.garbage),
            garbage_blocks: cut(&self.garbage_blocks),
        }
    }

    /// The same without what nothing held.
    pub fn without_garbage(&self) -> Self {
        self.without(&self.garbage, &self.garbage_blocks)
    }

    /// The same without what nothing held, and what may be idle. The last collection frees much of what is idle as well.
    pub fn without_idle(&self, idle: &Idle) -> Self {
        let most = |a: &[f64], b: &[f64]| -> Vec<f64> {
            a.iter().zip(b).map(|(a, b)| a.max(*b)).collect()
        };
        self.without(&most(&self.garbage, &idle.bytes), &most(&self.garbage_blocks, &idle.blocks))
    }

    /// The same without a part of what was kept, which then was not live either.
    fn without(&self, bytes: &[f64], blocks: &[f64]) -> Self {
        let less = |all: &[f64], part: &[f64]| -> Vec<f64> {
            all.iter().zip(part).map(|(all, part)| (all - part).max(0.0)).collect()
        };
        let mut so_far = 0.0;
        let live = self.live.iter().zip(bytes).map(|(live, part)| {
            so_far += part;
            (live - so_far).max(0.0)
        });
        Self {
            live: live.collect(),
            kept: less(&self.kept, bytes),
            kept_blocks: less(&self.kept_blocks, blocks),
            before: self.before,
            ..Self::new(self.live.len())
        }
    }

    /// Bytes live at the end.
    pub fn held(&self) -> f64 {
        self.kept.iter().sum()
    }
}
