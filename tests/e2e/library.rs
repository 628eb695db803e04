//! The library's face to the loader: what it exports, what it imports, where its thread state lies.

use object::elf::{DF_STATIC_TLS, DT_FLAGS, SHT_DYNSYM};
use object::read::elf::{Dyn, FileHeader, Sym};
use object::{Endianness, elf};

use crate::support::build::tools;

type Header = elf::FileHeader64<Endianness>;

const EXPORTED: [&str; 89] = [
    "TFE_Execute",
    "TF_SessionRun",
    "_ZN10tensorflow4data16BackgroundWorker8ScheduleESt8functionIFvvEE",
    "_ZN15stream_executor27GpuCudaMallocAsyncAllocator11AllocateRawEmm",
    "_ZN3tsl12BFCAllocator11AllocateRawEmmRKNS_20AllocationAttributesE",
    "_ZN3tsl12BFCAllocator13DeallocateRawEPv",
    "_ZN3tsl18UnboundedWorkQueue8ScheduleESt8functionIFvvEE",
    "_ZN5Eigen15ThreadPoolTemplIN3tsl6thread16EigenEnvironmentEE16ScheduleWithHintESt8functionIFvvEEii",
    "_ZN5Eigen15ThreadPoolTemplIN3tsl6thread16EigenEnvironmentEE8ScheduleESt8functionIFvvEE",
    "aligned_alloc",
    "calloc",
    "cfree",
    "cuArray3DCreate_v2",
    "cuArrayCreate_v2",
    "cuArrayDestroy",
    "cuCtxCreate_v2",
    "cuCtxCreate_v3",
    "cuCtxCreate_v4",
    "cuCtxDestroy_v2",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxReset_v2",
    "cuGetProcAddress",
    "cuGetProcAddress_v2",
    "cuMemAllocAsync",
    "cuMemAllocAsync_ptsz",
    "cuMemAllocFromPoolAsync",
    "cuMemAllocFromPoolAsync_ptsz",
    "cuMemAllocHost_v2",
    "cuMemAllocManaged",
    "cuMemAllocPitch_v2",
    "cuMemAlloc_v2",
    "cuMemCreate",
    "cuMemFreeAsync",
    "cuMemFreeAsync_ptsz",
    "cuMemFreeHost",
    "cuMemFree_v2",
    "cuMemHostAlloc",
    "cuMemHostRegister",
    "cuMemHostRegister_v2",
    "cuMemHostUnregister",
    "cuMemMap",
    "cuMemRelease",
    "cuMemRetainAllocationHandle",
    "cuMemUnmap",
    "cudaDeviceReset",
    "cudaFree",
    "cudaFreeArray",
    "cudaFreeAsync",
    "cudaFreeAsync_ptsz",
    "cudaFreeHost",
    "cudaGetDriverEntryPoint",
    "cudaGetDriverEntryPointByVersion",
    "cudaGetDriverEntryPointByVersion_ptsz",
    "cudaGetDriverEntryPoint_ptsz",
    "cudaHostAlloc",
    "cudaHostRegister",
    "cudaHostUnregister",
    "cudaMalloc",
    "cudaMalloc3D",
    "cudaMalloc3DArray",
    "cudaMallocArray",
    "cudaMallocAsync",
    "cudaMallocAsync_ptsz",
    "cudaMallocFromPoolAsync",
    "cudaMallocFromPoolAsync_ptsz",
    "cudaMallocHost",
    "cudaMallocManaged",
    "cudaMallocPitch",
    "dlsym",
    "dlvsym",
    "free",
    "free_aligned_sized",
    "free_sized",
    "malloc",
    "memalign",
    "mmap",
    "mmap64",
    "mremap",
    "munmap",
    "posix_memalign",
    "prctl",
    "pthread_create",
    "pvalloc",
    "realloc",
    "reallocarray",
    "syscall",
    "tftrace_flush",
    "tftrace_mark",
    "valloc",
];

/// The names of the dynamic symbols, those defined here or those wanted from elsewhere.
fn symbols(data: &[u8], defined: bool) -> Vec<String> {
    let header = Header::parse(data).unwrap();
    let endian = header.endian().unwrap();
    let symbols = header.sections(endian, data).unwrap().symbols(endian, data, SHT_DYNSYM).unwrap();
    let mut names: Vec<_> = symbols
        .iter()
        .skip(1)
        .filter(|symbol| symbol.is_undefined(endian) != defined)
        .map(|symbol| symbol.name(endian, symbols.strings()).unwrap())
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn only_the_interposed_functions_and_the_c_interface_are_exported() {
    let data = std::fs::read(&tools().library).unwrap();
    assert_eq!(symbols(&data, true), EXPORTED);
}

/// `__tls_get_addr` may allocate, inside malloc.
#[test]
fn thread_state_is_reached_without_a_call() {
    let data = std::fs::read(&tools().library).unwrap();
    let wanted = symbols(&data, false);
    assert!(!wanted.iter().any(|name| name == "__tls_get_addr"), "{wanted:?}");
    let header = Header::parse(&*data).unwrap();
    let endian = header.endian().unwrap();
    let sections = header.sections(endian, &*data).unwrap();
    let (entries, _) = sections.dynamic(endian, &*data).unwrap().unwrap();
    let flags = entries.iter().filter(|entry| entry.d_tag.get(endian) == u64::from(DT_FLAGS));
    let flags = flags.map(|entry| entry.d_val(endian)).fold(0, |all, flags| all | flags);
    assert_ne!(flags & u64::from(DF_STATIC_TLS), 0, "DT_FLAGS {flags:#x} without STATIC_TLS");
}

/// Production machines are older than those on which libraries are built.
#[test]
fn no_newer_glibc_than_2_28_is_needed() {
    let data = std::fs::read(&tools().library).unwrap();
    let header = Header::parse(&*data).unwrap();
    let endian = header.endian().unwrap();
    let sections = header.sections(endian, &*data).unwrap();
    let (mut needed, strings) = sections.gnu_verneed(endian, &*data).unwrap().unwrap();
    let strings = sections.strings(endian, &*data, strings).unwrap();
    let mut versions = Vec::new();
    while let Some((_, mut of_library)) = needed.next().unwrap() {
        while let Some(version) = of_library.next().unwrap() {
            let name = version.name(endian, strings).unwrap();
            let name = String::from_utf8_lossy(name).into_owned();
            if let Some(number) = name.strip_prefix("GLIBC_") {
                let parts: Vec<u32> = number.split('.').map(|part| part.parse().unwrap()).collect();
                versions.push(parts);
            }
        }
    }
    assert!(!versions.is_empty());
    assert!(versions.iter().all(|version| *version <= vec![2, 28]), "{versions:?}");
}
