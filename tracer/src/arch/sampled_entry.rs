//! Entries of allocators' functions by which a call that is certainly not in the sample goes on at once.
//!
//! Two looks decide: the bytes that are left of the thread's gap, behind the word of its block, and the
//! filter of addresses ([`crate::sampling`]). Where every call is recorded nothing is left of any gap and
//! there is no filter, so all calls go to the hook. Never touches the stack: a real function that is
//! jumped to finds every argument where it was.

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

/// Goes on at 2 if the block at `$address` may be one of which the tracer must see the end. The
/// arithmetic is that of `live_set::count_of`.
macro_rules! pass_filter {
    ($address:literal) => {
        concat!(
            "mov rax, ",
            $address,
            "\n",
            "mov rcx, ",
            $address,
            "\n",
            "shr rax, 9\n",
            "shr rcx, 25\n",
            "xor eax, ecx\n",
            "mov rcx, qword ptr [rip + {filter}]\n",
            "movzx eax, ax\n",
            "test rcx, rcx\n",
            "jz 2f\n",
            "cmp word ptr [rcx + 2*rax], 0\n",
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
            filter = sym $crate::sampling::FILTER,);
    };
    // A block at the first argument ends.
    (@end $(#[$doc:meta])* $name:ident, $target:path) => {
        sampled_shim!(@shim $(#[$doc])* $name, $target, "rsi", "rdx",
            [$crate::arch::pass_filter!("rdi")],
            filter = sym $crate::sampling::FILTER,);
    };
    (@shim $(#[$doc:meta])* $name:ident, $target:path, $sp:literal, $bp:literal,
     [$($look:expr),*] $(, $($operand:tt)*)?) => {
        $(#[$doc])*
        #[cfg_attr(not(test), unsafe(no_mangle))]
        #[unsafe(naked)]
        pub(crate) unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                "endbr64",
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
    // A block of so many bytes at most, which the second argument says; larger ones go to the hook.
    ($(#[$doc:meta])* $name:ident => $target:path, small_bytes = $most:expr, original = $at:expr) => {
        sampled_method!(@method $(#[$doc])* $name, $target, $at, "rdx", "rcx",
            ["lea rax, [rsi - 1]", "cmp rax, {most}", "jae 2f",
             $crate::arch::pass_gap!("rsi", "rax", "rdx")],
            most = const $most,);
    };
    // The same for as many bytes as the second argument times the third.
    ($(#[$doc:meta])* $name:ident => $target:path, small_product = $most:expr, original = $at:expr) => {
        sampled_method!(@method $(#[$doc])* $name, $target, $at, "rcx", "r8",
            ["mov r8, rdx", "mov rax, rsi", "mul rdx", "mov rdx, r8", "jo 2f",
             "lea rcx, [rax - 1]", "cmp rcx, {most}", "jae 2f",
             $crate::arch::pass_gap!("rax", "rcx", "r8")],
            most = const $most,);
    };
    // The block at the second argument ends.
    ($(#[$doc:meta])* $name:ident => $target:path, end_of_block, original = $at:expr) => {
        sampled_method!(@method $(#[$doc])* $name, $target, $at, "rdx", "rcx",
            [$crate::arch::pass_filter!("rsi")],
            filter = sym $crate::sampling::FILTER,);
    };
    (@method $(#[$doc:meta])* $name:ident, $target:path, $at:expr, $sp:literal, $bp:literal,
     [$($look:expr),*], $($operand:tt)*) => {
        $(#[$doc])*
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                "endbr64",
                $($look,)*
                "mov rax, qword ptr [rdi + {original}]",
                "mov rdi, qword ptr [rdi]",
                "jmp rax",
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
