/* A CUDA driver with host memory behind it: two devices of FAKE_CUDA_BYTES (8 GiB) each.
 *
 * Its memory comes from raw system calls, which no tracer of malloc and mmap sees. Kernels compute nothing. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef int CUresult;
typedef uint64_t CUdeviceptr;
enum { INVALID = 1, OUT_OF_MEMORY = 2, NOT_FOUND = 500, DEVICES = 2, PAGE = 4096 };

struct context;
/* In the page in front of every block. */
struct block {
    size_t size;
    int device; /* -1: memory of the host. */
    struct context *owner;
    struct block *next, **place;
};
struct context {
    int device;
    int primary_uses;
    struct block *blocks;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct context primary[DEVICES] = {{.device = 0}, {.device = 1}};
static size_t used[DEVICES], used_host;
static __thread struct context *current;

static size_t limit(void) {
    const char *text = getenv("FAKE_CUDA_BYTES");
    return text ? strtoull(text, NULL, 10) : (size_t)8 << 30;
}

static void *take(size_t size, int device) {
    size_t whole = (size + 2 * PAGE - 1) & ~(size_t)(PAGE - 1);
    pthread_mutex_lock(&lock);
    if (!current) current = &primary[0];
    void *start = MAP_FAILED;
    if (device < 0 || used[device] + size <= limit())
        start = (void *)syscall(SYS_mmap, NULL, whole, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED) {
        pthread_mutex_unlock(&lock);
        return NULL;
    }
    struct block *block = start;
    *block = (struct block){size, device, current, current->blocks, &current->blocks};
    if (block->next) block->next->place = &block->next;
    current->blocks = block;
    *(device < 0 ? &used_host : &used[device]) += size;
    pthread_mutex_unlock(&lock);
    return (char *)start + PAGE;
}

static void drop(struct block *block) {
    *block->place = block->next;
    if (block->next) block->next->place = block->place;
    *(block->device < 0 ? &used_host : &used[block->device]) -= block->size;
    syscall(SYS_munmap, block, (block->size + 2 * PAGE - 1) & ~(size_t)(PAGE - 1));
}

static CUresult give_back(uint64_t address) {
    if (!address) return 0;
    if (address % PAGE) return INVALID;
    pthread_mutex_lock(&lock);
    drop((struct block *)(address - PAGE));
    pthread_mutex_unlock(&lock);
    return 0;
}

static CUresult given(void *block, void *place) {
    if (!block) return OUT_OF_MEMORY;
    memcpy(place, &block, sizeof block);
    return 0;
}

static int device(void) { return current ? current->device : 0; }

static void end(struct context *context) {
    pthread_mutex_lock(&lock);
    while (context->blocks) drop(context->blocks);
    pthread_mutex_unlock(&lock);
}

/* What a test asks. */
size_t fake_used(int which) { return which < 0 ? used_host : used[which]; }

CUresult cuMemAlloc_v2(CUdeviceptr *p, size_t n) { return n ? given(take(n, device()), p) : INVALID; }
CUresult cuMemAllocPitch_v2(CUdeviceptr *p, size_t *pitch, size_t width, size_t rows, unsigned element) {
    (void)element;
    *pitch = (width + 511) & ~(size_t)511;
    return given(take(*pitch * rows, device()), p);
}
CUresult cuMemAllocManaged(CUdeviceptr *p, size_t n, unsigned flags) { (void)flags; return given(take(n, -1), p); }
CUresult cuMemAllocAsync(CUdeviceptr *p, size_t n, void *stream) { (void)stream; return given(take(n, device()), p); }
CUresult cuMemAllocAsync_ptsz(CUdeviceptr *p, size_t n, void *stream) { return cuMemAllocAsync(p, n, stream); }
CUresult cuMemAllocFromPoolAsync(CUdeviceptr *p, size_t n, void *pool, void *stream) {
    (void)pool;
    return cuMemAllocAsync(p, n, stream);
}
CUresult cuMemAllocFromPoolAsync_ptsz(CUdeviceptr *p, size_t n, void *pool, void *stream) {
    return cuMemAllocFromPoolAsync(p, n, pool, stream);
}
CUresult cuMemFree_v2(CUdeviceptr p) { return give_back(p); }
CUresult cuMemFreeAsync(CUdeviceptr p, void *stream) { (void)stream; return give_back(p); }
CUresult cuMemFreeAsync_ptsz(CUdeviceptr p, void *stream) { return cuMemFreeAsync(p, stream); }
CUresult cuMemAllocHost_v2(void **p, size_t n) { return given(take(n, -1), p); }
CUresult cuMemHostAlloc(void **p, size_t n, unsigned flags) { (void)flags; return given(take(n, -1), p); }
CUresult cuMemFreeHost(void *p) { return give_back((uintptr_t)p); }
CUresult cuMemHostRegister_v2(void *p, size_t n, unsigned flags) { (void)flags; return p && n ? 0 : INVALID; }
CUresult cuMemHostUnregister(void *p) { return p ? 0 : INVALID; }
CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *d, void *p, unsigned flags) {
    (void)flags;
    *d = (uintptr_t)p;
    return 0;
}

/* Physical memory: a handle is the number of a place. */
enum { HANDLES = 4096 };
static struct { size_t size; int device, uses; } physical[HANDLES];
static struct { CUdeviceptr address; size_t size; int handle; } mapping[HANDLES];

static CUresult release(int handle) {
    if (--physical[handle].uses == 0) used[physical[handle].device] -= physical[handle].size;
    return 0;
}
CUresult cuMemCreate(uint64_t *handle, size_t n, const int *properties, unsigned long long flags) {
    (void)flags;
    CUresult result = OUT_OF_MEMORY;
    pthread_mutex_lock(&lock);
    for (int at = 1; at < HANDLES && used[properties[3]] + n <= limit(); at++)
        if (!physical[at].uses) {
            physical[at].size = n, physical[at].device = properties[3], physical[at].uses = 1;
            used[properties[3]] += n;
            *handle = at, result = 0;
            break;
        }
    pthread_mutex_unlock(&lock);
    return result;
}
CUresult cuMemRelease(uint64_t handle) {
    pthread_mutex_lock(&lock);
    release(handle);
    pthread_mutex_unlock(&lock);
    return 0;
}
CUresult cuMemMap(CUdeviceptr p, size_t n, size_t offset, uint64_t handle, unsigned long long flags) {
    (void)offset, (void)flags;
    pthread_mutex_lock(&lock);
    for (int at = 1; at < HANDLES; at++)
        if (!mapping[at].address) {
            mapping[at].address = p, mapping[at].size = n, mapping[at].handle = handle;
            physical[handle].uses++;
            break;
        }
    pthread_mutex_unlock(&lock);
    return 0;
}
CUresult cuMemUnmap(CUdeviceptr p, size_t n) {
    pthread_mutex_lock(&lock);
    for (int at = 1; at < HANDLES; at++)
        if (mapping[at].address >= p && mapping[at].address < p + n) {
            mapping[at].address = 0;
            release(mapping[at].handle);
        }
    pthread_mutex_unlock(&lock);
    return 0;
}
CUresult cuMemRetainAllocationHandle(uint64_t *handle, void *p) {
    CUresult result = INVALID;
    pthread_mutex_lock(&lock);
    for (int at = 1; at < HANDLES; at++)
        if (mapping[at].address == (uintptr_t)p) {
            *handle = mapping[at].handle, physical[mapping[at].handle].uses++;
            result = 0;
        }
    pthread_mutex_unlock(&lock);
    return result;
}
CUresult cuMemAddressReserve(CUdeviceptr *p, size_t n, size_t align, CUdeviceptr wish, unsigned long long flags) {
    (void)align, (void)wish, (void)flags;
    long start = syscall(SYS_mmap, NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    *p = start;
    return start < 0 ? OUT_OF_MEMORY : 0;
}
CUresult cuMemAddressFree(CUdeviceptr p, size_t n) { syscall(SYS_munmap, p, n); return 0; }
CUresult cuMemSetAccess(CUdeviceptr p, size_t n, const void *access, size_t count) {
    (void)p, (void)n, (void)access, (void)count;
    return 0;
}
CUresult cuMemGetAllocationGranularity(size_t *n, const void *properties, int option) {
    (void)properties, (void)option;
    *n = 2 << 20;
    return 0;
}

/* Arrays: formats of one, two and four bytes. */
static size_t element(unsigned format, unsigned channels) {
    size_t bytes = format == 0x20 || format == 3 || format == 10 ? 4 : format == 0x10 || format == 2 || format == 9 ? 2 : 1;
    return bytes * channels;
}
CUresult cuArrayCreate_v2(void **array, const struct { size_t w, h; unsigned format, channels; } *it) {
    return given(take(element(it->format, it->channels) * it->w * (it->h ? it->h : 1), device()), array);
}
CUresult cuArray3DCreate_v2(void **array, const struct { size_t w, h, d; unsigned format, channels, flags; } *it) {
    size_t cells = it->w * (it->h ? it->h : 1) * (it->d ? it->d : 1);
    return given(take(element(it->format, it->channels) * cells, device()), array);
}
CUresult cuArrayDestroy(void *array) { return give_back((uintptr_t)array); }

CUresult cuInit(unsigned flags) { (void)flags; return 0; }
CUresult cuDriverGetVersion(int *version) { *version = 12080; return 0; }
CUresult cuDeviceGetCount(int *count) { *count = DEVICES; return 0; }
CUresult cuDeviceGet(int *device, int ordinal) { *device = ordinal; return ordinal < DEVICES ? 0 : 101; }
CUresult cuDeviceTotalMem_v2(size_t *n, int device) { (void)device; *n = limit(); return 0; }
CUresult cuMemGetInfo_v2(size_t *unused, size_t *all) {
    *all = limit();
    *unused = *all - used[device()];
    return 0;
}
CUresult cuCtxGetCurrent(void **context) { *context = current; return 0; }
CUresult cuCtxSetCurrent(void *context) { current = context; return 0; }
CUresult cuCtxGetDevice(int *number) { *number = device(); return current ? 0 : 201; }
CUresult cuCtxPushCurrent_v2(void *context) { current = context; return 0; }
CUresult cuCtxPopCurrent_v2(void **context) { if (context) *context = current; current = NULL; return 0; }
CUresult cuCtxCreate_v2(void **context, unsigned flags, int device) {
    (void)flags;
    struct context *created = calloc(1, sizeof *created);
    created->device = device;
    *context = current = created;
    return 0;
}
CUresult cuCtxDestroy_v2(void *context) {
    end(context);
    if (current == context) current = NULL;
    free(context);
    return 0;
}
CUresult cuDevicePrimaryCtxRetain(void **context, int device) {
    primary[device].primary_uses++;
    *context = &primary[device];
    return 0;
}
CUresult cuDevicePrimaryCtxRelease_v2(int device) {
    if (--primary[device].primary_uses == 0) end(&primary[device]);
    return 0;
}
CUresult cuDevicePrimaryCtxReset_v2(int device) { end(&primary[device]); return 0; }
CUresult cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) {
    *flags = 0;
    *active = primary[device].primary_uses > 0;
    return 0;
}

/* As the real one: a table, and not dlsym. */
CUresult cuGetProcAddress_v2(const char *, void **, int, uint64_t, int *);
CUresult cuGetProcAddress(const char *, void **, int, uint64_t);
#define OLD(name) {#name, name, name}
#define NEW(name) {#name, name##_v2, name##_v2}
#define STREAM(name) {#name, name, name##_ptsz}
static const struct { const char *name; void *function, *per_thread; } table[] = {
    NEW(cuMemAlloc), NEW(cuMemAllocPitch), OLD(cuMemAllocManaged), STREAM(cuMemAllocAsync),
    STREAM(cuMemAllocFromPoolAsync), NEW(cuMemFree), STREAM(cuMemFreeAsync), NEW(cuMemAllocHost),
    OLD(cuMemHostAlloc), OLD(cuMemFreeHost), NEW(cuMemHostRegister), OLD(cuMemHostUnregister),
    OLD(cuMemCreate), OLD(cuMemRelease), OLD(cuMemMap), OLD(cuMemUnmap), OLD(cuMemRetainAllocationHandle),
    OLD(cuMemAddressReserve), OLD(cuMemAddressFree), NEW(cuArrayCreate), NEW(cuArray3DCreate),
    OLD(cuArrayDestroy), NEW(cuCtxCreate), NEW(cuCtxDestroy), NEW(cuDevicePrimaryCtxReset),
    NEW(cuDevicePrimaryCtxRelease), OLD(cuDevicePrimaryCtxRetain), OLD(cuDevicePrimaryCtxGetState),
    OLD(cuCtxGetCurrent), OLD(cuCtxSetCurrent), OLD(cuInit), NEW(cuMemGetInfo),
};
CUresult cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags, int *status) {
    *function = NULL;
    if (!strcmp(name, "cuGetProcAddress"))
        *function = version >= 12000 ? (void *)cuGetProcAddress_v2 : (void *)cuGetProcAddress;
    for (size_t at = 0; at < sizeof table / sizeof *table; at++)
        if (!strcmp(name, table[at].name)) *function = flags & 2 ? table[at].per_thread : table[at].function;
    if (status) *status = *function ? 0 : 1;
    return *function ? 0 : NOT_FOUND;
}
CUresult cuGetProcAddress(const char *name, void **function, int version, uint64_t flags) {
    return cuGetProcAddress_v2(name, function, version, flags, NULL);
}
