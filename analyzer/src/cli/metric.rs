//! Which bytes are counted, as an argument and in words.

use clap::ValueEnum;

/// Which bytes are counted. Sizes are as requested, without the allocator's overhead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Metric {
    /// Live when the trace ends, or when Python begins to shut down: leaks, and whatever the
    /// program keeps on purpose
    Unfreed,
    /// Everything that was ever requested, freed or not, temporaries included
    Allocated,
    /// Temporaries: freed by the thread that allocated them while both events were in its buffer
    /// (about 1,300 events), so that the trace holds only a count of them
    Temporary,
    /// Live at the moment when malloc and anonymous mmap memory together were largest;
    /// temporaries are not in it
    Peak,
}

impl Metric {
    /// What the bytes are, in plain words.
    pub fn bytes_in_words(self) -> &'static str {
        match self {
            Metric::Unfreed => "unfreed bytes",
            Metric::Allocated => "bytes allocated in total",
            Metric::Temporary => "bytes of temporaries",
            Metric::Peak => "bytes live at the peak",
        }
    }

    /// What to make of the bytes, in a sentence.
    pub fn meaning_in_words(self) -> &'static str {
        match self {
            Metric::Unfreed => {
                "Unfreed is what was still allocated when the program ended: leaks, and what it \
                 keeps on purpose."
            }
            Metric::Allocated => {
                "All that was ever asked for, freed or not: it shows who allocates much, not who leaks."
            }
            Metric::Temporary => {
                "Temporaries were freed soon after they were allocated: they cost time, and leak nothing."
            }
            Metric::Peak => "What was allocated at the moment when memory was largest.",
        }
    }

    /// What was counted, after a number of blocks.
    pub fn state_in_words(self) -> &'static str {
        match self {
            Metric::Unfreed => "unfreed",
            Metric::Allocated => "allocated",
            Metric::Temporary => "temporary",
            Metric::Peak => "live at the peak",
        }
    }
}
