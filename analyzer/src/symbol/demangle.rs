//! Readable names: demangled, without parameters, and shortened where a template goes on for pages.

use cpp_demangle::DemangleOptions;

/// The name as a person would write it; a name of no known scheme stays as it is.
pub fn demangle(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    // `name@@VERSION` is what some symbol tables write.
    let plain = name.split("@@").next().unwrap_or(&name);
    if let Ok(rust) = rustc_demangle::try_demangle(plain) {
        return format!("{rust:#}");
    }
    if !plain.starts_with("_Z") && !plain.starts_with("__Z") {
        return plain.to_owned();
    }
    let options = DemangleOptions::new().no_params().no_return_type();
    cpp_demangle::Symbol::new(plain)
        .ok()
        .and_then(|symbol| symbol.demangle(&options).ok())
        .map_or_else(|| plain.to_owned(), |name| plain_std(&name))
}

fn plain_std(name: &str) -> String {
    const LONG_STRING: &str =
        "std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> >";
    name.replace(LONG_STRING, "std::string")
}

/// The name in at most `limit` characters: the deepest template arguments go first, then the end.
pub fn shorten(name: &str, limit: usize) -> String {
    let mut short = name.to_owned();
    let mut depth = deepest(name);
    while depth > 0 && short.chars().count() > limit {
        short = without_arguments(name, depth);
        depth -= 1;
    }
    if short.chars().count() > limit {
        short = short.chars().take(limit.saturating_sub(1)).collect();
        short.push('…');
    }
    short
}

/// Calls `each` with every character and how many template brackets are around it.
fn for_each_depth(name: &str, mut each: impl FnMut(char, usize)) {
    let mut depth = 0usize;
    let mut before = String::new();
    for character in name.chars() {
        // The brackets of `operator<`, `operator->` and `->` open and close nothing.
        let of_operator = before.ends_with("operator") || before.ends_with("operator<");
        let opens = character == '<' && !of_operator;
        let closes = character == '>' && !of_operator && !before.ends_with('-') && depth > 0;
        if closes {
            depth -= 1;
        }
        each(character, depth);
        if opens {
            depth += 1;
        }
        before.push(character);
    }
}

fn deepest(name: &str) -> usize {
    let mut deepest = 0;
    for_each_depth(name, |_, depth| deepest = deepest.max(depth));
    deepest
}

fn without_arguments(name: &str, from_depth: usize) -> String {
    let mut short = String::new();
    for_each_depth(name, |character, depth| {
        if depth < from_depth {
            short.push(character);
        } else if !short.ends_with('…') {
            short.push('…');
        }
    });
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpp_rust_and_c_names_are_readable() {
        assert_eq!(demangle(b"_ZN10tensorflow6Tensor4copyERKS0_"), "tensorflow::Tensor::copy");
        let string = b"_ZNSt6vectorINSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEESaIS5_EE9push_backEOS5_";
        assert!(demangle(string).contains("std::vector<std::string"), "{}", demangle(string));
        assert_eq!(demangle(b"_ZN4core3fmt5write17h0123456789abcdefE"), "core::fmt::write");
        assert_eq!(demangle(b"malloc@@GLIBC_2.2.5"), "malloc");
        assert_eq!(demangle(b"_Znot_mangled"), "_Znot_mangled");
        assert_eq!(demangle(b"\xff"), "\u{fffd}");
    }

    #[test]
    fn template_arguments_go_before_the_end_of_a_name() {
        let name = "a::B<C<D, E<F> >, G>::run<H>";
        assert_eq!(shorten(name, 100), name);
        assert_eq!(shorten(name, 27), "a::B<C<…>, G>::run<H>");
        assert_eq!(shorten(name, 16), "a::B<…>::run<…>");
        assert_eq!(shorten(name, 8), "a::B<…>…");
    }

    #[test]
    fn operators_are_no_brackets() {
        let name = "operator<< <std::char_traits<char> >";
        assert_eq!(shorten(name, 20), "operator<< <…>");
        assert_eq!(shorten("operator->", 20), "operator->");
    }
}
