//! No panic machinery behind the hooks: read from the built library, instruction by instruction.
//!
//! From every function of ours the direct calls and jumps are followed, those through the table of
//! addresses that the loader fills, and functions whose address is taken. Not followed: calls
//! through any other pointer, which lead to the host's functions or to ours, where we began.

use std::collections::{BTreeMap, HashMap, HashSet};

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, OpKind, Register};
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

use crate::support::build::tools;

/// The functions of the library and who refers to whom, by address.
struct Functions {
    names: BTreeMap<u64, String>,
    refers: HashMap<u64, HashSet<u64>>,
}

impl Functions {
    fn read(data: &[u8]) -> Self {
        let file = object::File::parse(data).unwrap();
        let symbols = file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text);
        let symbols = symbols.filter(|symbol| symbol.is_definition());
        let names: BTreeMap<u64, String> = symbols
            .map(|symbol| (symbol.address(), symbol.name().unwrap()))
            .map(|(address, name)| (address, format!("{:#}", rustc_demangle::demangle(name))))
            .collect();
        let filled_by_loader: HashMap<u64, u64> = (file.dynamic_relocations().unwrap())
            .map(|(address, relocation)| (address, relocation.addend() as u64))
            .collect();
        let mut functions = Self { names, refers: HashMap::new() };
        let text = file.section_by_name(".text").unwrap();
        let bytes = text.data().unwrap();
        let mut decoder = Decoder::with_ip(64, bytes, text.address(), DecoderOptions::NONE);
        let mut instruction = Instruction::default();
        while decoder.can_decode() {
            decoder.decode_out(&mut instruction);
            let Some(from) = functions.around(instruction.ip()) else { continue };
            let to = functions.target(&instruction, &filled_by_loader);
            if let Some(to) = to.filter(|&to| to != from) {
                functions.refers.entry(from).or_default().insert(to);
            }
        }
        functions
    }

    /// The function that holds an address.
    fn around(&self, address: u64) -> Option<u64> {
        self.names.range(..=address).next_back().map(|(start, _)| *start)
    }

    /// The function that an instruction goes to, or takes the address of.
    fn target(&self, instruction: &Instruction, loader: &HashMap<u64, u64>) -> Option<u64> {
        if instruction.op0_kind() == OpKind::NearBranch64 {
            return self.around(instruction.near_branch_target());
        }
        if instruction.memory_base() != Register::RIP {
            return None;
        }
        let place = instruction.memory_displacement64();
        let goes_there = matches!(
            instruction.flow_control(),
            FlowControl::IndirectBranch | FlowControl::IndirectCall
        );
        let function = match instruction.code() {
            Code::Lea_r64_m => place,
            _ if goes_there || instruction.code() == Code::Mov_r64_rm64 => *loader.get(&place)?,
            _ => return None,
        };
        self.names.contains_key(&function).then_some(function)
    }

    /// How the first function that panics is reached from those that `begin` names.
    fn way_to_a_panic(&self, begin: impl Fn(&str) -> bool) -> Option<Vec<&str>> {
        let mut ways: HashMap<u64, Option<u64>> = HashMap::new();
        let mut next: Vec<u64> = Vec::new();
        for (&address, name) in &self.names {
            if begin(name) {
                ways.insert(address, None);
                next.push(address);
            }
        }
        assert!(!next.is_empty());
        while let Some(function) = next.pop() {
            if panics(&self.names[&function]) {
                let way = std::iter::successors(Some(function), |function| ways[function]);
                return Some(way.map(|function| self.names[&function].as_str()).collect());
            }
            for &to in self.refers.get(&function).into_iter().flatten() {
                if !own_thread(&self.names[&to]) && !ways.contains_key(&to) {
                    ways.insert(to, Some(function));
                    next.push(to);
                }
            }
        }
        None
    }
}

fn panics(name: &str) -> bool {
    let words = ["core::panicking", "std::panicking", "rust_panic", "rust_begin_unwind"];
    name.ends_with("_fail")
        || name.contains("handle_alloc_error")
        || words.iter().any(|word| name.contains(word))
}

/// What runs in the threads of the tracer's own, and in no hook.
fn own_thread(name: &str) -> bool {
    ["run_collector", "run_compressor", "drain::collector", "drain::compressor"]
        .iter()
        .any(|place| name.contains(place))
}

#[test]
fn no_panic_is_reachable_from_the_hooks() {
    let data = std::fs::read(&tools().library).unwrap();
    let functions = Functions::read(&data);
    // All of ours, not only those exported: Python and TensorFlow are given pointers to the others.
    let ours = |name: &str| {
        let name = name.trim_start_matches('<');
        ["tftrace", "malloc", "free", "mmap"].iter().any(|begin| name.starts_with(begin))
    };
    // Only the tracer's own threads compress; it would be found if a hook did.
    let is_hook = |name: &str| ours(name) && !own_thread(name) && !name.contains("page_codec::");
    let way = functions.way_to_a_panic(is_hook);
    assert_eq!(way, None);
    // Not because nothing is found: the tracer's own threads use libraries that can panic.
    let way = functions.way_to_a_panic(|name| name.contains("run_collector"));
    assert!(way.is_some());
}
