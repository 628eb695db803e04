/* A CUDA runtime over the fake driver. It finds the driver as NVIDIA's does: one dlsym, for cuGetProcAddress_v2, and
 * everything else by asking that, itself too. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

typedef int cudaError_t;
typedef cudaError_t (*find_function)(const char *, void **, int, uint64_t, int *);
static find_function find;

static void begin(void) {
    void *driver = dlopen("libcuda.so.1", RTLD_NOW);
    if (!driver) abort();
    find_function first = (find_function)dlsym(driver, "cuGetProcAddress_v2");
    if (first("cuGetProcAddress", (void **)&find, 12000, 0, NULL)) abort();
}

static void *driver(const char *name, int per_thread) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, begin);
    void *function;
    if (find(name, &function, 12080, per_thread ? 2 : 0, NULL)) abort();
    return function;
}
#define CALL(name, ...) ((cudaError_t(*)())driver(name, 0))(__VA_ARGS__)
#define CALL_PER_THREAD(name, ...) ((cudaError_t(*)())driver(name, 1))(__VA_ARGS__)

/* Makes the primary context current, as the real one does at its first call. */
static __thread int device;
static void use(void) {
    void *context;
    CALL("cuCtxGetCurrent", &context);
    if (context) return;
    CALL("cuDevicePrimaryCtxRetain", &context, device);
    CALL("cuCtxSetCurrent", context);
}
cudaError_t cudaSetDevice(int number) {
    void *context;
    device = number;
    CALL("cuDevicePrimaryCtxRetain", &context, device);
    return CALL("cuCtxSetCurrent", context);
}
cudaError_t cudaGetDevice(int *number) { *number = device; return 0; }
cudaError_t cudaGetDeviceCount(int *count) { *count = 2; return 0; }

typedef struct { void *ptr; size_t pitch, xsize, ysize; } cudaPitchedPtr;
typedef struct { size_t width, height, depth; } cudaExtent;
typedef struct { int x, y, z, w, kind; } cudaChannelFormatDesc;

cudaError_t cudaMalloc(void **p, size_t n) { use(); return CALL("cuMemAlloc", p, n); }
cudaError_t cudaMallocPitch(void **p, size_t *pitch, size_t width, size_t rows) {
    use();
    return CALL("cuMemAllocPitch", p, pitch, width, rows, 4);
}
cudaError_t cudaMalloc3D(cudaPitchedPtr *p, cudaExtent e) {
    use();
    p->xsize = e.width, p->ysize = e.height;
    return CALL("cuMemAllocPitch", &p->ptr, &p->pitch, e.width, e.height * e.depth, 4);
}
cudaError_t cudaMallocManaged(void **p, size_t n, unsigned flags) { use(); return CALL("cuMemAllocManaged", p, n, flags); }
cudaError_t cudaMallocAsync(void **p, size_t n, void *s) { use(); return CALL("cuMemAllocAsync", p, n, s); }
cudaError_t cudaMallocAsync_ptsz(void **p, size_t n, void *s) { use(); return CALL_PER_THREAD("cuMemAllocAsync", p, n, s); }
cudaError_t cudaMallocFromPoolAsync(void **p, size_t n, void *pool, void *s) {
    use();
    return CALL("cuMemAllocFromPoolAsync", p, n, pool, s);
}
cudaError_t cudaMallocFromPoolAsync_ptsz(void **p, size_t n, void *pool, void *s) {
    use();
    return CALL_PER_THREAD("cuMemAllocFromPoolAsync", p, n, pool, s);
}
cudaError_t cudaFree(void *p) { use(); return CALL("cuMemFree", p); }
cudaError_t cudaFreeAsync(void *p, void *s) { return CALL("cuMemFreeAsync", p, s); }
cudaError_t cudaFreeAsync_ptsz(void *p, void *s) { return CALL_PER_THREAD("cuMemFreeAsync", p, s); }
cudaError_t cudaMallocHost(void **p, size_t n) { use(); return CALL("cuMemAllocHost", p, n); }
cudaError_t cudaHostAlloc(void **p, size_t n, unsigned flags) { use(); return CALL("cuMemHostAlloc", p, n, flags); }
cudaError_t cudaFreeHost(void *p) { return CALL("cuMemFreeHost", p); }
cudaError_t cudaHostRegister(void *p, size_t n, unsigned flags) { use(); return CALL("cuMemHostRegister", p, n, flags); }
cudaError_t cudaHostUnregister(void *p) { return CALL("cuMemHostUnregister", p); }
cudaError_t cudaMalloc3DArray(void **a, const cudaChannelFormatDesc *f, cudaExtent e, unsigned flags) {
    use();
    /* Four bytes an element, whatever the channels: eight bits each, or one of 32. */
    struct { size_t w, h, d; unsigned format, channels, flags; } it = {
        e.width, e.height, e.depth, f->x == 32 ? 0x20 : 1, f->x == 32 ? 1 : 4, flags};
    return CALL("cuArray3DCreate", a, &it);
}
cudaError_t cudaMallocArray(void **a, const cudaChannelFormatDesc *f, size_t width, size_t height, unsigned flags) {
    return cudaMalloc3DArray(a, f, (cudaExtent){width, height, 0}, flags);
}
cudaError_t cudaFreeArray(void *a) { return CALL("cuArrayDestroy", a); }
cudaError_t cudaMemGetInfo(size_t *unused, size_t *all) { use(); return CALL("cuMemGetInfo", unused, all); }
cudaError_t cudaDeviceReset(void) { return CALL("cuDevicePrimaryCtxReset", device); }

cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **f, unsigned version, uint64_t flags, int *status) {
    driver("cuInit", 0);
    if (find(name, f, version, flags, status)) *f = NULL;
    return 0;
}
cudaError_t cudaGetDriverEntryPointByVersion_ptsz(const char *name, void **f, unsigned v, uint64_t flags, int *status) {
    return cudaGetDriverEntryPointByVersion(name, f, v, flags | 2, status);
}
cudaError_t cudaGetDriverEntryPoint(const char *name, void **f, uint64_t flags, int *status) {
    return cudaGetDriverEntryPointByVersion(name, f, 12080, flags, status);
}
cudaError_t cudaGetDriverEntryPoint_ptsz(const char *name, void **f, uint64_t flags, int *status) {
    return cudaGetDriverEntryPoint(name, f, flags | 2, status);
}
