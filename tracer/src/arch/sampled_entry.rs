//! Entries of allocators' functions by which a call that is certainly not in the sample goes on at once.
//!
//! Two looks decide: the bytes that are left of the thread's gap, behind the word of its block, and the
//! filter of addresses ([`crate::sampling`]). Where every call is recorded nothing is left of any gap and
//! the filter lets nothing pass, so all calls go to the hook. Never touches the stack: a real function that
//! is jumped to finds every argument where it was. Without `endbr64`: the library does not say that it has
//! that everywhere, so no processor asks for it, and here each instruction counts.

/// Takes `$size` bytes off the gap, if they end before it does; else goes on at 2. A handler that
/// interrupts this in the middle has its own bytes forgotten, no more.
macro_rules! pass_gap {
    ($size:literal, $scratch:literal, $left:literal) => {
        concat!(
            "mov ",
            $scratch,
            ", qword ptr [rip + tftrace_thread_block@GOTTPOFF]\n",
            "mov ",
            $left,
            ", qword ptr fs:[",
            $scratch,
            " + 8]\n",
            "sub ",
            $left,
            ", ",
            $size,
            "\n",
            "jbe 2f\n",
            "mov qword ptr fs:[",
            $scratch,
            " + 8], ",
            $left,
        )
    };
}
pub(crate) use pass_gap;

/// Goes on at 2 if the gap ends within `$size` bytes, of which nothing is taken off.
macro_rules! look_at_gap {
    ($size:literal, $scratch:literal) => {
        concat!(
            "mov ",
            $scratch,
            ", qword ptr [rip + tftrace_thread_block@GOTTPOFF]\n",
            "cmp qword ptr fs:[",
            $scratch,
            " + 8], ",
            $size,
            "\n",
            "jbe 2f",
        )
    };
}
pub(crate) use look_at_gap;

/// Goes on at 2 if the block at `$address` may be one of which the tracer must see the end. The
/// arithmetic is that of `live_set::offset_of_count`.
macro_rules! pass_filter {
    ($address:literal) => {
        concat!(
            "mov rax, ",
            $address,
            "\n",
            "shr rax, 16\n",
            "xor rax, ",
            $address,
            "\n",
            "shr eax, 8\n",
            "and eax, dword ptr [rip + {mask}]\n",
            "mov rcx, qword ptr [rip + {filter}]\n",
            "cmp word ptr [rcx + rax], 0\n",
            "jne 2f",
        )
    };
}
pub(crate) use pass_filter;

/// Defines an exported C function that jumps to the real one after such looks, or to its hook.
macro_rules! sampled_shim {
    ($(#[$doc:meta])* $name:ident => $target:path, bytes = $bytes:ident) => {
        sampled_shim!(@$bytes $(#[$doc])* $name, $target);
    };
    // The last argument says how many, of one, two or three.
    (@first $(#[$doc:meta])* $name:ident, $target:path) => {
        sampled_shim!(@shim $(#[$doc])* $name, $target, "rsi", "rdx",
            [$crate::arch::pass_gap!("rdi", "rax", "rdx")]);
    };
    (@second $(#[$doc:meta])* $name:ident, $target:path) => {
        sampled_shim!(@shim $(#[$doc])* $name, $target, "rdx", "rcx",
            [$crate::arch::pass_gap!("rsi", "rax", "rdx")]);
    };
    (@third $(#[$doc:meta])* $name:ident, $target:path) => {
        sampled_shim!(@shim $(#[$doc])* $name, $target, "rcx", "r8",
            [$crate::arch::pass_gap!("rdx", "rax", "rcx")]);
    };
    // The product of the two arguments.
    (@product $(#[$doc:meta])* $name:ident, $target:path) => {
        sampled_shim!(@shim $(#[$doc])* $name, $target, "rdx", "rcx",
            ["mov rax, rdi\nmul rsi\njo 2f", $crate::arch::pass_gap!("rax", "rdx", "rcx")]);
    };
    // The second argument, for a block at the first, which ends.
    (@second_after_end $(#[$doc:meta])* $name:ident, $target:path) => {
        sampled_shim!(@shim $(#[$doc])* $name, $target, "rdx", "rcx",
            [$crate::arch::pass_filter!("rdi"), $crate::arch::pass_gap!("rsi", "rax", "rdx")],
            filter = sym $crate::sampling::FILTER, mask = sym $crate::sampling::FILTER_MASK,);
    };
    // A block at the first argument ends.
    (@end $(#[$doc:meta])* $name:ident, $target:path) => {
        sampled_shim!(@shim $(#[$doc])* $name, $target, "rsi", "rdx",
            [$crate::arch::pass_filter!("rdi")],
            filter = sym $crate::sampling::FILTER, mask = sym $crate::sampling::FILTER_MASK,);
    };
    (@shim $(#[$doc:meta])* $name:ident, $target:path, $sp:literal, $bp:literal,
     [$($look:expr),*] $(, $($operand:tt)*)?) => {
        $(#[$doc])*
        #[cfg_attr(not(test), unsafe(no_mangle))]
        #[unsafe(naked)]
        pub(crate) unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                $($look,)*
                "jmp qword ptr [rip + {real}]",
                "2:",
                concat!("mov ", $sp, ", rsp"),
                concat!("mov ", $bp, ", rbp"),
                "jmp {target}",
                real = sym $crate::real::address::$name,
                target = sym $target,
                $($($operand)*)?
            )
        }
    };
}
pub(crate) use sampled_shim;

/// Defines a function of an allocator's that gets its original's place as its context: after such looks the
/// original is jumped to, with its own context, which it has in front.
macro_rules! sampled_method {
    // A block of as many bytes as the second argument says. More than so many come from `malloc`, where they
    // are taken off the gap.
    ($(#[$doc:meta])* $name:ident => $target:path, small_bytes = $most:expr, original = $at:expr) => {
        sampled_method!(@method $(#[$doc])* $name, $target, $at, "rdx", "rcx",
            ["cmp rsi, {most}", "ja 4f", $crate::arch::pass_gap!("rsi", "rax", "rdx")],
            ["4:", $crate::arch::look_at_gap!("rsi", "rax"), "jmp 3b"],
            most = const $most,);
    };
    // The same for as many bytes as the second argument times the third.
    ($(#[$doc:meta])* $name:ident => $target:path, small_product = $most:expr, original = $at:expr) => {
        sampled_method!(@method $(#[$doc])* $name, $target, $at, "rcx", "r8",
            ["mov r8, rdx", "mov rax, rsi", "mul rdx", "mov rdx, r8", "jo 2f",
             "cmp rax, {most}", "ja 4f", $crate::arch::pass_gap!("rax", "rcx", "r8")],
            ["4:", $crate::arch::look_at_gap!("rax", "rcx"), "jmp 3b"],
            most = const $most,);
    };
    // The block at the second argument ends.
    ($(#[$doc:meta])* $name:ident => $target:path, end_of_block, original = $at:expr) => {
        sampled_method!(@method $(#[$doc])* $name, $target, $at, "rdx", "rcx",
            [$crate::arch::pass_filter!("rsi")], [],
            filter = sym $crate::sampling::FILTER, mask = sym $crate::sampling::FILTER_MASK,);
    };
    (@method $(#[$doc:meta])* $name:ident, $target:path, $at:expr, $sp:literal, $bp:literal,
     [$($look:expr),*], [$($else:expr),*], $($operand:tt)*) => {
        $(#[$doc])*
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                $($look,)*
                "3:",
                "mov rax, qword ptr [rdi + {original}]",
                "mov rdi, qword ptr [rdi]",
                "jmp rax",
                $($else,)*
                "2:",
                concat!("mov ", $sp, ", rsp"),
                concat!("mov ", $bp, ", rbp"),
                "jmp {target}",
                original = const $at,
                target = sym $target,
                $($operand)*
            )
        }
    };
}
pub(crate) use sampled_method;

/// Defines a function of an allocator's that gives another block for the one at its second argument, of as many
/// bytes as the third says: after such looks one that is told that the call is not in the sample.
macro_rules! sampled_replacement {
    ($(#[$doc:meta])* $name:ident => $target:path, unsampled = $unsampled:path) => {
        $(#[$doc])*
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                $crate::arch::pass_filter!("rsi"),
                $crate::arch::look_at_gap!("rdx", "rax"),
                "jmp {unsampled}",
                "2:",
                "mov rcx, rsp",
                "mov r8, rbp",
                "jmp {target}",
                unsampled = sym $unsampled,
                target = sym $target,
                filter = sym $crate::sampling::FILTER,
                mask = sym $crate::sampling::FILTER_MASK,
            )
        }
    };
}
pub(crate) use sampled_replacement;
