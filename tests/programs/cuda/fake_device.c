/* The rest of a CUDA driver that TensorFlow needs before it lists a device: included behind fake_libcuda.c. Copies are
 * real, kernels compute nothing, and all work is done when a call returns. */
#include "fake_libcuda.c"

static char thing; /* What streams, events, modules and functions are. */

CUresult cuDeviceGetName(char *name, int room, int device) { (void)device; snprintf(name, room, "Fake device"); return 0; }
CUresult cuDeviceGetPCIBusId(char *name, int room, int device) { snprintf(name, room, "0000:0%d:00.0", device); return 0; }
CUresult cuDeviceGetUuid_v2(char *uuid, int device) { memset(uuid, device + 1, 16); return 0; }
CUresult cuDeviceComputeCapability(int *major, int *minor, int device) { (void)device; *major = 8, *minor = 0; return 0; }
CUresult cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    switch (attribute) {
    case 1: *value = 1024; break;           /* threads of a block */
    case 2: case 3: *value = 1024; break;
    case 4: *value = 64; break;
    case 5: *value = 2147483647; break;     /* blocks of a grid */
    case 6: case 7: *value = 65535; break;
    case 8: *value = 49152; break;          /* shared memory of a block */
    case 10: *value = 32; break;            /* warp */
    case 12: *value = 65536; break;         /* registers */
    case 13: *value = 1410000; break;       /* kHz */
    case 16: *value = 108; break;           /* processors */
    case 36: *value = 1215000; break;
    case 37: *value = 5120; break;
    case 38: *value = 40 << 20; break;
    case 39: *value = 2048; break;
    case 75: *value = 8; break;             /* compute capability 8.0 */
    case 76: *value = 0; break;
    case 81: *value = 167936; break;
    case 82: *value = 65536; break;
    case 97: *value = 166912; break;
    case 41: case 83: case 115: *value = 1; break; /* one address space, managed memory, memory pools */
    default: *value = 0;
    }
    return 0;
}
CUresult cuCtxGetApiVersion(void *context, unsigned *version) { (void)context; *version = 3020; return 0; }
CUresult cuCtxGetSharedMemConfig(int *config) { *config = 1; return 0; }
CUresult cuCtxGetFlags(unsigned *flags) { *flags = 0; return 0; }
CUresult cuDevicePrimaryCtxSetFlags_v2(int device, unsigned flags) { (void)device, (void)flags; return 0; }
CUresult cuCtxGetStreamPriorityRange(int *least, int *most) { *least = 0, *most = -1; return 0; }
CUresult cuStreamCreate(void **stream, unsigned flags) { (void)flags; *stream = &thing; return 0; }
CUresult cuStreamCreateWithPriority(void **stream, unsigned flags, int p) { (void)p; return cuStreamCreate(stream, flags); }
CUresult cuStreamGetCtx(void *stream, void **context) { (void)stream; *context = current; return 0; }
CUresult cuStreamIsCapturing(void *stream, int *is) { (void)stream; *is = 0; return 0; }
CUresult cuStreamAddCallback(void *stream, void (*call)(void *, CUresult, void *), void *data, unsigned flags) {
    (void)flags;
    call(stream, 0, data);
    return 0;
}
CUresult cuLaunchHostFunc(void *stream, void (*call)(void *), void *data) { (void)stream; call(data); return 0; }
CUresult cuEventCreate(void **event, unsigned flags) { (void)flags; *event = &thing; return 0; }
CUresult cuEventElapsedTime(float *ms, void *a, void *b) { (void)a, (void)b; *ms = 1; return 0; }
CUresult cuModuleLoadData(void **module, const void *image) { (void)image; *module = &thing; return 0; }
CUresult cuModuleLoadDataEx(void **module, const void *image, unsigned n, int *o, void **v) {
    (void)n, (void)o, (void)v;
    return cuModuleLoadData(module, image);
}
CUresult cuModuleLoadFatBinary(void **module, const void *image) { return cuModuleLoadData(module, image); }
CUresult cuModuleGetFunction(void **function, void *module, const char *name) {
    (void)module, (void)name;
    *function = &thing;
    return 0;
}
CUresult cuModuleGetGlobal_v2(CUdeviceptr *p, size_t *n, void *module, const char *name) {
    (void)module, (void)name;
    static char value[4096];
    if (p) *p = (uintptr_t)value;
    if (n) *n = sizeof value;
    return 0;
}
CUresult cuFuncGetAttribute(int *value, int attribute, void *function) {
    (void)attribute, (void)function;
    *value = attribute == 0 ? 1024 : 0;
    return 0;
}
CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *n, void *f, int threads, size_t shared) {
    (void)f, (void)threads, (void)shared;
    *n = 2;
    return 0;
}
CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *n, void *f, int t, size_t s, unsigned flags) {
    (void)flags;
    return cuOccupancyMaxActiveBlocksPerMultiprocessor(n, f, t, s);
}
CUresult cuOccupancyMaxPotentialBlockSize(int *grid, int *block, void *f, void *g, size_t s, int limit) {
    (void)f, (void)g, (void)s, (void)limit;
    *grid = 108, *block = 256;
    return 0;
}
static CUresult copy(uint64_t to, uint64_t from, size_t n) { memcpy((void *)to, (void *)from, n); return 0; }
CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t n) { return copy(to, (uintptr_t)from, n); }
CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t n) { return copy((uintptr_t)to, from, n); }
CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t n) { return copy(to, from, n); }
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t n, void *s) { (void)s; return copy(to, (uintptr_t)from, n); }
CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t n, void *s) { (void)s; return copy((uintptr_t)to, from, n); }
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t n, void *s) { (void)s; return copy(to, from, n); }
CUresult cuMemsetD8_v2(CUdeviceptr p, unsigned char value, size_t n) { memset((void *)p, value, n); return 0; }
CUresult cuMemsetD8Async(CUdeviceptr p, unsigned char value, size_t n, void *s) { (void)s; return cuMemsetD8_v2(p, value, n); }
CUresult cuMemsetD32_v2(CUdeviceptr p, unsigned value, size_t n) {
    for (size_t at = 0; at < n; at++) ((unsigned *)p)[at] = value;
    return 0;
}
CUresult cuMemsetD32Async(CUdeviceptr p, unsigned value, size_t n, void *s) { (void)s; return cuMemsetD32_v2(p, value, n); }
CUresult cuPointerGetAttribute(void *value, int attribute, CUdeviceptr p) {
    (void)p;
    if (attribute == 1) *(void **)value = current;
    else *(int *)value = attribute == 2 ? 2 : 0;
    return 0;
}
CUresult cuDeviceGetDefaultMemPool(void **pool, int device) { (void)device; *pool = &thing; return 0; }
CUresult cuMemPoolCreate(void **pool, const void *properties) { (void)properties; *pool = &thing; return 0; }
CUresult cuMemPoolGetAttribute(void *pool, int attribute, uint64_t *value) {
    (void)pool, (void)attribute;
    *value = used[0];
    return 0;
}
CUresult cuGetErrorName(CUresult error, const char **name) { (void)error; *name = "FAKE_ERROR"; return 0; }
CUresult cuGetErrorString(CUresult error, const char **text) { *text = error == 2 ? "out of memory" : "fake error"; return 0; }
