//! The command line: what can be asked, and the help that teaches it.

mod metric;
mod rate;

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use tftrace_format::Domain;

pub use metric::Metric;
use rate::parse_rate;
pub use rate::{Per, Rate};

const EXAMPLES: &str = "\
Examples:
  LD_PRELOAD=libtftrace.so python serve.py    record; writes trace.bin
  tftrace-analyze trace.bin                   does it leak, where, how fast; writes trace.html
  tftrace-analyze trace.bin --open            the same, and the page in the browser
  tftrace-analyze trace.bin --json            the same for programs
  tftrace-analyze check trace.bin --max-growth 1kB/request && deploy
  tftrace-analyze sites trace.bin --metric peak   what was live when memory was highest
  tftrace-analyze sites trace.bin --show-all  every frame of the call stacks
  tftrace-analyze info trace.bin              is the trace whole? what was lost?
  tftrace-analyze folded trace.bin | grep Conv2D
  tftrace-analyze diff short.bin long.bin     what grew from one trace to the other
  tftrace-analyze merge trace.*.bin           which of the workers leaks
  tftrace-analyze pprof trace.bin && pprof -http=: trace.pb.gz
  tftrace-analyze ./info                      a trace that is called like a command

A trace can be read while its program still runs: the report shows it up to that moment.

Exit codes: 0 the report is written, 1 it is not (one line on stderr says why), 2 wrong usage.
check: 0 no leak, 3 a leak, 4 undecided (with --fail-on undecided).
NO_COLOR=1 turns colour off.";

/// Reads a trace of tftrace: does the process leak, how fast, at which line, and what to do.
///
/// Without a command it prints the verdict and the suspects, and writes a page with memory over time
/// and the flame graph beside the trace.
#[derive(Debug, Parser)]
#[command(
    name = "tftrace-analyze",
    version,
    after_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    /// What to print instead of the report.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The report's own arguments.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// What to print instead of the report.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// What the trace is and how whole it is: process, clock, counts, memory readings, losses
    Info {
        /// The trace file
        trace: PathBuf,
    },
    /// One line per requested size, in bytes: SIZE ALLOCATIONS FREES
    ///
    /// Mappings are included: mmap and munmap count with the length that they were called with.
    /// Temporaries are included: each counts as one allocation and one free. A free counts when
    /// it meets a live block; frees of memory from before the trace are in `info`.
    Sizes {
        /// The trace file
        trace: PathBuf,
        /// Count this memory only; may be repeated [default: all]
        #[arg(long = "domain", value_name = "NAME", value_parser = domain_parser())]
        domains: Vec<Domain>,
    },
    /// One line per call stack, for flame graph tools: ROOT;...;LEAF BYTES
    Folded {
        /// The trace file
        trace: PathBuf,
        /// Which bytes to count
        #[arg(long, value_enum, default_value_t = Metric::Unfreed)]
        metric: Metric,
        /// Count this memory only; may be repeated [default: malloc, mmap, python, tensorflow]
        ///
        /// The others are no memory of the host.
        #[arg(long = "domain", value_name = "NAME", value_parser = domain_parser())]
        domains: Vec<Domain>,
        /// What of a call stack is shown.
        #[command(flatten)]
        view: ViewArgs,
    },
    /// Fails if the trace shows a leak, for CI: exit code 3, or 4 with --fail-on undecided
    Check(CheckArgs),
    /// The call stacks with the most memory, leaking or not, and trace.svg, a flame graph of them
    Sites(SitesArgs),
    /// What grew between two traces, by call stacks through the same functions
    Diff(DiffArgs),
    /// The traces of several processes in one report, such as those of prefork workers
    ///
    /// Each process has a verdict of its own; suspects at the same line are one, with the sum of their
    /// growth and the processes that have it. A page with all of it is written beside the first trace
    Merge(MergeArgs),
    /// A profile for pprof, with every weight as a sample type; the file's path is printed
    ///
    /// Sample types: unfreed, peak, temporary and alloc, each as _space (bytes) and _objects
    /// (blocks). Each sample has its domain as a tag.
    Pprof(ExportArgs),
    /// A file for speedscope, with a profile in bytes and one in blocks; the file's path is printed
    Speedscope {
        /// Which blocks to count
        #[arg(long, value_enum, default_value_t = Metric::Unfreed)]
        metric: Metric,
        /// What else is asked for.
        #[command(flatten)]
        export: ExportArgs,
    },
}

/// Which traces are put together, and how.
#[derive(Args, Debug)]
pub struct MergeArgs {
    /// The trace files, such as trace.*.bin
    #[arg(required = true, value_name = "TRACE")]
    pub traces: Vec<PathBuf>,
    /// How many suspects to print
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub top: usize,
    /// Print the report as JSON, for programs (schema: docs/json.md)
    #[arg(long)]
    pub json: bool,
    /// How a trace is judged.
    #[command(flatten)]
    pub judge: JudgeArgs,
    /// What becomes of the page.
    #[command(flatten)]
    pub page: PageArgs,
}

/// What becomes of the page.
#[derive(Args, Clone, Debug, Default)]
pub struct PageArgs {
    /// Where to write the page [default: the trace's name with .html; merge: with .merged.html]
    #[arg(long, value_name = "FILE.html")]
    pub output: Option<PathBuf>,
    /// Open the page in the browser
    #[arg(long, conflicts_with = "no_page")]
    pub open: bool,
    /// Write no page
    #[arg(long, conflicts_with = "output")]
    pub no_page: bool,
}

/// How a trace is judged, by every command that gives a verdict.
#[derive(Args, Clone, Debug, Default)]
pub struct JudgeArgs {
    /// Growth that is known and does not count: a file with one leak:PATTERN on a line
    ///
    /// A pattern is a part of a function, file:line or module on the suspect's call stack; * stands
    /// for anything, ^ and $ for begin and end, as LeakSanitizer has it. May be repeated
    #[arg(long, value_name = "FILE")]
    pub suppressions: Vec<PathBuf>,
    /// Count calls of this function of yours as requests, such as serve.py:handle_request
    ///
    /// Its name, or the end of its file's path or its module, a colon and its name. Without it the marks of
    /// tftrace_mark are counted, or else the line that repeats
    #[arg(long, value_name = "FUNCTION", env = "TFTRACE_REQUESTS", hide_env_values = true)]
    pub requests: Option<String>,
}

/// Which traces are compared, and how.
#[derive(Args, Debug)]
pub struct DiffArgs {
    /// The older trace
    pub before: PathBuf,
    /// The newer trace, of the same program
    pub after: PathBuf,
    /// Which bytes to compare
    #[arg(long, value_enum, default_value_t = Metric::Unfreed)]
    pub metric: Metric,
    /// How many entries to print
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub top: usize,
    /// How many frames of a call stack to print, beside the two at the thread's start
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub depth: usize,
    /// What of a call stack is shown.
    #[command(flatten)]
    pub view: ViewArgs,
}

/// What a file for another tool is made of.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// The trace file
    pub trace: PathBuf,
    /// Where to write [default: beside the trace, with .pb.gz or .speedscope.json]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Count this memory only; may be repeated [default: malloc, mmap, python, tensorflow]
    #[arg(long = "domain", value_name = "NAME", value_parser = domain_parser())]
    pub domains: Vec<Domain>,
    /// What of a call stack is shown.
    #[command(flatten)]
    pub view: ViewArgs,
}

/// Names of domains, as the report writes them.
fn domain_parser() -> impl TypedValueParser<Value = Domain> {
    PossibleValuesParser::new(Domain::ALL.map(Domain::name)).try_map(|name| {
        let named = Domain::ALL.into_iter().find(|domain| domain.name() == name);
        named.ok_or("unknown domain")
    })
}

/// What the report is asked for.
#[derive(Args, Debug)]
pub struct ReportArgs {
    /// The trace file, as TFTRACE_OUTPUT named it (default trace.bin)
    #[arg(required = true)]
    pub trace: Option<PathBuf>,
    /// How many suspects to print; the page has all of them
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub top: usize,
    /// Print the report as JSON, for programs (schema: docs/json.md)
    #[arg(long)]
    pub json: bool,
    /// How the trace is judged.
    #[command(flatten)]
    pub judge: JudgeArgs,
    /// What becomes of the page.
    #[command(flatten)]
    pub page: PageArgs,
}

/// What a check fails on.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// The trace file
    pub trace: PathBuf,
    /// Growth up to this is allowed, such as 1kB/request or 64kB/s [default: none]
    ///
    /// The lower bound of the 95 % interval of all leaks together is compared with it
    #[arg(long, value_name = "BYTES/UNIT", value_parser = parse_rate)]
    pub max_growth: Option<Rate>,
    /// Also fail on these
    #[arg(long, value_enum, value_name = "VERDICT")]
    pub fail_on: Option<FailOn>,
    /// How the trace is judged.
    #[command(flatten)]
    pub judge: JudgeArgs,
    /// How to print the outcome
    #[arg(long, value_enum, default_value_t = CheckFormat::Text)]
    pub format: CheckFormat,
}

/// Beside leaks, what a check fails on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// The trace does not say whether it leaks: exit code 4
    Undecided,
}

/// How the outcome of a check is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    /// One line for the verdict, one for each leak
    Text,
    /// Annotations of GitHub Actions, at the lines that leak
    Github,
}

/// What the list of sites is asked for.
#[derive(Args, Debug)]
pub struct SitesArgs {
    /// The trace file
    pub trace: PathBuf,
    /// Which bytes to rank and draw
    #[arg(long, value_enum, default_value_t = Metric::Unfreed)]
    pub metric: Metric,
    /// How many entries to print; call stacks through the same functions are one entry
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub top: usize,
    /// How many frames of a call stack to print, beside the two at the thread's start
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub depth: usize,
    /// What of a call stack is shown.
    #[command(flatten)]
    pub view: ViewArgs,
    /// Where to write the flame graph [default: the trace's name with .svg]
    #[arg(long, value_name = "FILE.svg")]
    pub output: Option<PathBuf>,
    /// Open the flame graph in the browser
    #[arg(long, conflicts_with = "no_svg")]
    pub open: bool,
    /// Write no flame graph
    #[arg(long, conflicts_with = "output")]
    pub no_svg: bool,
}

/// What of a call stack is shown, in the text and in the flame graph.
#[derive(Args, Clone, Copy, Debug)]
pub struct ViewArgs {
    /// Which frames of a call stack to show
    #[arg(long, value_enum, default_value_t = Frames::Mixed)]
    pub frames: Frames,
    /// Show every one of these frames: fold nothing, cut nothing
    #[arg(long)]
    pub show_all: bool,
}

/// Which frames of a call stack are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Frames {
    /// Python functions, ops and native code; frames inside TensorFlow, NumPy and CUDA as one line
    /// for each run of them. Those of the Python interpreter are left out beside Python functions
    Mixed,
    /// Native code only, every frame
    Native,
    /// Python functions and ops only
    Python,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_trace_needs_no_command_and_may_be_called_like_one() {
        let parsed = Cli::parse_from(["tftrace-analyze", "trace.bin", "--top", "3"]);
        assert!(parsed.command.is_none());
        assert_eq!(parsed.report.trace, Some(PathBuf::from("trace.bin")));
        let parsed = Cli::parse_from(["tftrace-analyze", "./info"]);
        assert_eq!(parsed.report.trace, Some(PathBuf::from("./info")));
        let parsed = Cli::parse_from(["tftrace-analyze", "info", "info"]);
        assert!(
            matches!(parsed.command, Some(Command::Info { trace }) if trace.as_os_str() == "info")
        );
        assert!(Cli::try_parse_from(["tftrace-analyze"]).is_err());
    }

    #[test]
    fn domains_are_named_as_in_the_report_and_may_be_repeated() {
        for domain in Domain::ALL {
            let arguments = ["tftrace-analyze", "sizes", "t", "--domain", domain.name()];
            let parsed = Cli::parse_from(arguments).command;
            assert!(matches!(parsed, Some(Command::Sizes { domains, .. }) if domains == [domain]));
        }
        let two = ["tftrace-analyze", "folded", "t", "--domain", "mmap", "--domain", "cuda"];
        let expected = [Domain::Mmap, Domain::Cuda];
        assert!(matches!(
            Cli::parse_from(two).command,
            Some(Command::Folded { domains, .. }) if domains == expected
        ));
        let unknown = Cli::try_parse_from(["tftrace-analyze", "sizes", "t", "--domain", "heap"]);
        let help = unknown.unwrap_err().to_string();
        assert!(help.contains("malloc, mmap, python"), "{help}");
    }

    #[test]
    fn the_sites_and_the_folded_stacks_have_the_same_views() {
        let sites = |asked: &[&str]| {
            let parsed = Cli::parse_from(["tftrace-analyze", "sites", "t"].iter().chain(asked));
            let Some(Command::Sites(sites)) = parsed.command else { panic!("not sites") };
            (sites.view.frames, sites.view.show_all, sites.depth)
        };
        assert_eq!(sites(&[]), (Frames::Mixed, false, 8));
        let asked = ["--frames", "python", "--show-all"];
        assert_eq!(sites(&asked), (Frames::Python, true, 8));
        let folded = Cli::parse_from(["tftrace-analyze", "folded", "t"].iter().chain(&asked));
        assert!(matches!(
            folded.command,
            Some(Command::Folded { view: ViewArgs { frames: Frames::Python, show_all: true }, .. })
        ));
    }
}
