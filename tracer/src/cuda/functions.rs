//! The functions of CUDA that are recorded: their names, and what a call of each means.
//!
//! Names and signatures are those of the CUDA driver (`cu…`) and runtime (`cuda…`), 11 to 13.

use core::ffi::CStr;

use tftrace_format::{CudaKind, Domain};

use crate::arch::any_call;

/// What a call means. Arguments count from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Memory comes to life; argument 0 points to where its address is written.
    Allocates(CudaKind, Size),
    /// Argument 0 is host memory, argument 1 its size: it is pinned from now on.
    Pins,
    /// The memory at argument 0 dies; its address is in this domain.
    Frees(Domain),
    /// `cuMemCreate`: memory without an address, which a handle names.
    Creates,
    /// `cuMemRetainAllocationHandle`.
    Retains,
    /// `cuMemRelease`.
    Releases,
    /// `cuMemMap`.
    Maps,
    /// `cuMemUnmap`.
    Unmaps,
    /// A context that argument 0 points to comes to life.
    CreatesContext,
    /// The context that is argument 0 dies.
    DestroysContext,
    /// The primary context of the device that is argument 0 dies.
    ResetsPrimary,
    /// It dies if nobody else uses it.
    ReleasesPrimary,
    /// The context that is current dies.
    ResetsCurrent,
    /// Argument 0 is the name of a driver's function, argument 1 points to where its address is
    /// written; argument 2 is its version, if this is true.
    Finds(bool),
}

/// How the size of an allocation is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// It is argument 1.
    Given,
    /// Rows of a length that argument 1 points to; argument 2 is the length asked for, 3 how many.
    Rows,
    /// `cudaMalloc3D`: a `cudaExtent` on the stack, and a `cudaPitchedPtr` that argument 0 points to.
    Volume,
    /// `cudaMallocArray`: a format that argument 1 points to, width and height.
    Array,
    /// `cudaMalloc3DArray`: the same with a `cudaExtent` on the stack.
    Array3D,
    /// `cuArrayCreate`: argument 1 points to a `CUDA_ARRAY_DESCRIPTOR`.
    Described,
    /// `cuArray3DCreate`: argument 1 points to a `CUDA_ARRAY3D_DESCRIPTOR`.
    Described3D,
}

impl Meaning {
    /// Whether the function has arguments on the stack.
    pub(super) fn has_stack_arguments(self) -> bool {
        matches!(self, Meaning::Allocates(_, Size::Volume | Size::Array3D))
    }
}

/// Which function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Function(u32);

macro_rules! functions {
    ($($name:ident: $meaning:expr;)*) => {
        #[allow(non_camel_case_types, reason = "C names")]
        #[repr(u32)]
        enum Number { $($name,)* }

        const NAMES: &[&CStr] = &[$(
            match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => c"",
            },
        )*];
        const MEANINGS: &[Meaning] = &[$($meaning,)*];
        static EXPORTED: &[unsafe extern "C" fn()] = &[$(exported::$name,)*];

        /// The symbols that programs are linked to.
        mod exported {
            use super::*;
            $(any_call!($name, Number::$name as u32);)*
        }
    };
}

use CudaKind::{Device, Managed, Pinned};
use Meaning::*;

functions! {
    cuMemAlloc_v2: Allocates(Device, Size::Given);
    cuMemAllocPitch_v2: Allocates(Device, Size::Rows);
    cuMemAllocManaged: Allocates(Managed, Size::Given);
    cuMemAllocAsync: Allocates(Device, Size::Given);
    cuMemAllocAsync_ptsz: Allocates(Device, Size::Given);
    cuMemAllocFromPoolAsync: Allocates(Device, Size::Given);
    cuMemAllocFromPoolAsync_ptsz: Allocates(Device, Size::Given);
    cuMemFree_v2: Frees(Domain::Cuda);
    cuMemFreeAsync: Frees(Domain::Cuda);
    cuMemFreeAsync_ptsz: Frees(Domain::Cuda);
    cuMemAllocHost_v2: Allocates(Pinned, Size::Given);
    cuMemHostAlloc: Allocates(Pinned, Size::Given);
    cuMemFreeHost: Frees(Domain::CudaHost);
    cuMemHostRegister: Pins;
    cuMemHostRegister_v2: Pins;
    cuMemHostUnregister: Frees(Domain::CudaHost);
    cuMemCreate: Creates;
    cuMemRetainAllocationHandle: Retains;
    cuMemRelease: Releases;
    cuMemMap: Maps;
    cuMemUnmap: Unmaps;
    cuArrayCreate_v2: Allocates(Device, Size::Described);
    cuArray3DCreate_v2: Allocates(Device, Size::Described3D);
    cuArrayDestroy: Frees(Domain::Cuda);
    cuCtxCreate_v2: CreatesContext;
    cuCtxCreate_v3: CreatesContext;
    cuCtxCreate_v4: CreatesContext;
    cuCtxDestroy_v2: DestroysContext;
    cuDevicePrimaryCtxReset_v2: ResetsPrimary;
    cuDevicePrimaryCtxRelease_v2: ReleasesPrimary;
    cuGetProcAddress: Finds(true);
    cuGetProcAddress_v2: Finds(true);
    cudaMalloc: Allocates(Device, Size::Given);
    cudaMallocPitch: Allocates(Device, Size::Rows);
    cudaMalloc3D: Allocates(Device, Size::Volume);
    cudaMallocManaged: Allocates(Managed, Size::Given);
    cudaMallocAsync: Allocates(Device, Size::Given);
    cudaMallocAsync_ptsz: Allocates(Device, Size::Given);
    cudaMallocFromPoolAsync: Allocates(Device, Size::Given);
    cudaMallocFromPoolAsync_ptsz: Allocates(Device, Size::Given);
    cudaFree: Frees(Domain::Cuda);
    cudaFreeAsync: Frees(Domain::Cuda);
    cudaFreeAsync_ptsz: Frees(Domain::Cuda);
    cudaMallocHost: Allocates(Pinned, Size::Given);
    cudaHostAlloc: Allocates(Pinned, Size::Given);
    cudaFreeHost: Frees(Domain::CudaHost);
    cudaHostRegister: Pins;
    cudaHostUnregister: Frees(Domain::CudaHost);
    cudaMallocArray: Allocates(Device, Size::Array);
    cudaMalloc3DArray: Allocates(Device, Size::Array3D);
    cudaFreeArray: Frees(Domain::Cuda);
    cudaDeviceReset: ResetsCurrent;
    cudaGetDriverEntryPoint: Finds(false);
    cudaGetDriverEntryPoint_ptsz: Finds(false);
    cudaGetDriverEntryPointByVersion: Finds(true);
    cudaGetDriverEntryPointByVersion_ptsz: Finds(true);
}

const _: () = assert!(NAMES.len() < crate::arch::FIRST_UNNAMED as usize);

/// What the driver's functions are called by version: the same base name, and an ending.
const ENDINGS: [&[u8]; 4] = [b"_v2", b"_v3", b"_v4", b"_ptsz"];
/// Before this version of CUDA, device addresses had 32 bits in the driver's interface.
const OLDEST: u64 = 3020;

impl Function {
    /// The function with this number.
    pub(super) fn numbered(number: u32) -> Option<Self> {
        NAMES.get(number as usize).map(|_| Self(number))
    }

    /// Its number.
    pub(super) fn number(self) -> u32 {
        self.0
    }

    /// The function whose symbol has this name.
    pub(super) fn named(name: &CStr) -> Option<Self> {
        let at = NAMES.iter().position(|known| *known == name)?;
        Some(Self(at as u32))
    }

    /// The function that `cuGetProcAddress` gives for this name and version (0 = the latest).
    pub(super) fn of_driver(name: &CStr, version: u64) -> Option<Self> {
        if version != 0 && version < OLDEST {
            return None;
        }
        let is_it = |known: &&CStr| {
            let known = known.to_bytes();
            let base = ENDINGS.iter().find_map(|ending| known.strip_suffix(*ending));
            known == name.to_bytes() || base == Some(name.to_bytes())
        };
        let at = NAMES.iter().position(is_it)?;
        Some(Self(at as u32))
    }

    /// The name of its symbol.
    pub(super) fn name(self) -> &'static CStr {
        NAMES.get(self.0 as usize).copied().unwrap_or(c"")
    }

    /// What a call means.
    pub(super) fn meaning(self) -> Option<Meaning> {
        MEANINGS.get(self.0 as usize).copied()
    }

    /// Whether it is of the runtime's library, and not of the driver's.
    pub(super) fn is_of_runtime(self) -> bool {
        self.name().to_bytes().starts_with(b"cuda")
    }

    /// The function of this name that we export.
    pub(super) fn exported(self) -> u64 {
        EXPORTED.get(self.0 as usize).map_or(0, |function| *function as *const () as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_s_functions_are_known_by_their_base_names() {
        let name = |name, version| Function::of_driver(name, version).map(Function::name);
        assert_eq!(name(c"cuMemAlloc", 12000), Some(c"cuMemAlloc_v2"));
        assert_eq!(name(c"cuMemAlloc", 2000), None, "a function of 32-bit addresses");
        assert_eq!(name(c"cuMemAllocAsync", 0), Some(c"cuMemAllocAsync"));
        assert_eq!(name(c"cuGetProcAddress", 12000), Some(c"cuGetProcAddress"));
        assert_eq!(name(c"cuMemcpy", 12000), None);
        assert_eq!(Function::named(c"cuMemAlloc"), None);
        let function = Function::named(c"cudaFreeHost").unwrap();
        assert_eq!(function.meaning(), Some(Meaning::Frees(Domain::CudaHost)));
        assert!(function.is_of_runtime());
        assert_eq!(Function::numbered(function.number()), Some(function));
        assert_eq!(Function::numbered(NAMES.len() as u32), None);
    }
}
