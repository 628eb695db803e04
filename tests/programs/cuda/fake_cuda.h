/* What the programs need of CUDA's interface, driver and runtime. */
#ifndef FAKE_CUDA_H
#define FAKE_CUDA_H
#include <stddef.h>
#include <stdint.h>

typedef struct { void *ptr; size_t pitch, xsize, ysize; } cudaPitchedPtr;
typedef struct { size_t width, height, depth; } cudaExtent;
typedef struct { int x, y, z, w, kind; } cudaChannelFormatDesc;
typedef struct { size_t width, height; unsigned format, channels; } array_descriptor;
typedef struct { size_t width, height, depth; unsigned format, channels, flags; } array3d_descriptor;
typedef struct { int type, handle_types, location, number; long rest[4]; } allocation_properties;

/* Every function once: the name of its symbol, its base name, its arguments. */
#define DRIVER_FUNCTIONS(F) \
    F(cuMemAlloc_v2, cuMemAlloc, (uint64_t *, size_t)) \
    F(cuMemAllocPitch_v2, cuMemAllocPitch, (uint64_t *, size_t *, size_t, size_t, unsigned)) \
    F(cuMemAllocManaged, cuMemAllocManaged, (uint64_t *, size_t, unsigned)) \
    F(cuMemAllocAsync, cuMemAllocAsync, (uint64_t *, size_t, void *)) \
    F(cuMemAllocAsync_ptsz, cuMemAllocAsync, (uint64_t *, size_t, void *)) \
    F(cuMemAllocFromPoolAsync, cuMemAllocFromPoolAsync, (uint64_t *, size_t, void *, void *)) \
    F(cuMemAllocFromPoolAsync_ptsz, cuMemAllocFromPoolAsync, (uint64_t *, size_t, void *, void *)) \
    F(cuMemFree_v2, cuMemFree, (uint64_t)) \
    F(cuMemFreeAsync, cuMemFreeAsync, (uint64_t, void *)) \
    F(cuMemFreeAsync_ptsz, cuMemFreeAsync, (uint64_t, void *)) \
    F(cuMemAllocHost_v2, cuMemAllocHost, (void **, size_t)) \
    F(cuMemHostAlloc, cuMemHostAlloc, (void **, size_t, unsigned)) \
    F(cuMemFreeHost, cuMemFreeHost, (void *)) \
    F(cuMemHostRegister_v2, cuMemHostRegister, (void *, size_t, unsigned)) \
    F(cuMemHostUnregister, cuMemHostUnregister, (void *)) \
    F(cuMemCreate, cuMemCreate, (uint64_t *, size_t, const allocation_properties *, unsigned long long)) \
    F(cuMemRetainAllocationHandle, cuMemRetainAllocationHandle, (uint64_t *, void *)) \
    F(cuMemRelease, cuMemRelease, (uint64_t)) \
    F(cuMemMap, cuMemMap, (uint64_t, size_t, size_t, uint64_t, unsigned long long)) \
    F(cuMemUnmap, cuMemUnmap, (uint64_t, size_t)) \
    F(cuMemAddressReserve, cuMemAddressReserve, (uint64_t *, size_t, size_t, uint64_t, unsigned long long)) \
    F(cuMemAddressFree, cuMemAddressFree, (uint64_t, size_t)) \
    F(cuArrayCreate_v2, cuArrayCreate, (void **, const array_descriptor *)) \
    F(cuArray3DCreate_v2, cuArray3DCreate, (void **, const array3d_descriptor *)) \
    F(cuArrayDestroy, cuArrayDestroy, (void *)) \
    F(cuCtxCreate_v2, cuCtxCreate, (void **, unsigned, int)) \
    F(cuCtxDestroy_v2, cuCtxDestroy, (void *)) \
    F(cuCtxSetCurrent, cuCtxSetCurrent, (void *)) \
    F(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, (void **, int)) \
    F(cuDevicePrimaryCtxRelease_v2, cuDevicePrimaryCtxRelease, (int)) \
    F(cuDevicePrimaryCtxReset_v2, cuDevicePrimaryCtxReset, (int))

#define RUNTIME_FUNCTIONS(F) \
    F(cudaMalloc, cudaMalloc, (void **, size_t)) \
    F(cudaMallocPitch, cudaMallocPitch, (void **, size_t *, size_t, size_t)) \
    F(cudaMalloc3D, cudaMalloc3D, (cudaPitchedPtr *, cudaExtent)) \
    F(cudaMallocManaged, cudaMallocManaged, (void **, size_t, unsigned)) \
    F(cudaMallocAsync, cudaMallocAsync, (void **, size_t, void *)) \
    F(cudaMallocAsync_ptsz, cudaMallocAsync_ptsz, (void **, size_t, void *)) \
    F(cudaMallocFromPoolAsync, cudaMallocFromPoolAsync, (void **, size_t, void *, void *)) \
    F(cudaMallocFromPoolAsync_ptsz, cudaMallocFromPoolAsync_ptsz, (void **, size_t, void *, void *)) \
    F(cudaFree, cudaFree, (void *)) \
    F(cudaFreeAsync, cudaFreeAsync, (void *, void *)) \
    F(cudaFreeAsync_ptsz, cudaFreeAsync_ptsz, (void *, void *)) \
    F(cudaMallocHost, cudaMallocHost, (void **, size_t)) \
    F(cudaHostAlloc, cudaHostAlloc, (void **, size_t, unsigned)) \
    F(cudaFreeHost, cudaFreeHost, (void *)) \
    F(cudaHostRegister, cudaHostRegister, (void *, size_t, unsigned)) \
    F(cudaHostUnregister, cudaHostUnregister, (void *)) \
    F(cudaMallocArray, cudaMallocArray, (void **, const cudaChannelFormatDesc *, size_t, size_t, unsigned)) \
    F(cudaMalloc3DArray, cudaMalloc3DArray, (void **, const cudaChannelFormatDesc *, cudaExtent, unsigned)) \
    F(cudaFreeArray, cudaFreeArray, (void *)) \
    F(cudaSetDevice, cudaSetDevice, (int)) \
    F(cudaDeviceReset, cudaDeviceReset, (void))

#define DECLARED(name, base, arguments) int name arguments;
#define POINTER(name, base, arguments) int(*name) arguments;
#endif
