/* Every function by one road, in eight threads: roads ROAD.
 *
 * linked, dlsym, dlvsym: driver and runtime. address, address2, entry, entry_by_version: the driver. In each thread every
 * function allocates ROUNDS + 1 times and frees ROUNDS times, half of the threads what the others allocated. */
#include "../host.h"
#include "fake_cuda.h"

DRIVER_FUNCTIONS(DECLARED)
RUNTIME_FUNCTIONS(DECLARED)
int cuGetProcAddress(const char *, void **, int, uint64_t);
int cuGetProcAddress_v2(const char *, void **, int, uint64_t, int *);
int cudaGetDriverEntryPoint(const char *, void **, uint64_t, int *);
int cudaGetDriverEntryPointByVersion(const char *, void **, unsigned, uint64_t, int *);

static struct { DRIVER_FUNCTIONS(POINTER) } driver;
static struct { RUNTIME_FUNCTIONS(POINTER) } runtime;
static int has_runtime = 1;

static const char *road;
static void *libcuda, *libcudart;

static void *found(const char *symbol, const char *base) {
    void *function = NULL;
    int status, per_thread = strstr(symbol, "_ptsz") ? 2 : 0, runtimes = !strncmp(symbol, "cuda", 4);
    if (!strcmp(road, "dlsym")) function = dlsym(runtimes ? libcudart : libcuda, symbol);
    else if (!strcmp(road, "dlvsym")) function = runtimes ? dlvsym(libcudart, symbol, "libcudart.so.12") : dlsym(libcuda, symbol);
    else if (!strcmp(road, "address")) CHECK(!cuGetProcAddress(base, &function, 12000, per_thread));
    else if (!strcmp(road, "address2")) CHECK(!cuGetProcAddress_v2(base, &function, 12000, per_thread, &status));
    else if (!strcmp(road, "entry")) CHECK(!cudaGetDriverEntryPoint(base, &function, per_thread, &status));
    else CHECK(!cudaGetDriverEntryPointByVersion(base, &function, 12000, per_thread, &status));
    CHECK(function);
    return function;
}

static void find_all(void) {
    libcuda = dlopen("libcuda.so.1", RTLD_NOW), libcudart = dlopen("libcudart.so.12", RTLD_NOW);
    CHECK(libcuda && libcudart);
#define LINKED_DRIVER(name, base, arguments) driver.name = name;
#define LINKED_RUNTIME(name, base, arguments) runtime.name = name;
#define FOUND_DRIVER(name, base, arguments) driver.name = (int(*) arguments)found(#name, #base);
#define FOUND_RUNTIME(name, base, arguments) runtime.name = (int(*) arguments)found(#name, #base);
    if (!strcmp(road, "linked")) {
        DRIVER_FUNCTIONS(LINKED_DRIVER)
        RUNTIME_FUNCTIONS(LINKED_RUNTIME)
        return;
    }
    has_runtime = !strcmp(road, "dlsym") || !strcmp(road, "dlvsym");
    DRIVER_FUNCTIONS(FOUND_DRIVER)
    if (has_runtime) { RUNTIME_FUNCTIONS(FOUND_RUNTIME) }
}

enum { THREADS = 8, ROUNDS = 50 };
static void *kept;

static void exercise_driver(void) {
    uint64_t p, handle, again;
    size_t pitch;
    void *host;
    static char pages[THREADS * 65536];
    static int taken;
    char *own = pages + 65536 * __atomic_fetch_add(&taken, 1, __ATOMIC_RELAXED);
    allocation_properties on_device = {.type = 1, .location = 1, .number = 1};
    array_descriptor flat = {100, 30, 0x20, 2};
    array3d_descriptor deep = {10, 20, 30, 1, 1, 0};
#define EACH(allocate, release)                              \
    for (int round = 0; round <= ROUNDS; round++) {          \
        CHECK(!(allocate));                                  \
        if (round < ROUNDS) CHECK(!(release));               \
    }
    EACH(driver.cuMemAlloc_v2(&p, 10001), driver.cuMemFree_v2(p))
    EACH(driver.cuMemAllocPitch_v2(&p, &pitch, 1000, 7, 4), driver.cuMemFree_v2(p)) /* 7168 */
    EACH(driver.cuMemAllocManaged(&p, 10003, 1), driver.cuMemFree_v2(p))
    EACH(driver.cuMemAllocAsync(&p, 10004, NULL), driver.cuMemFreeAsync(p, NULL))
    EACH(driver.cuMemAllocAsync_ptsz(&p, 10005, NULL), driver.cuMemFreeAsync_ptsz(p, NULL))
    EACH(driver.cuMemAllocFromPoolAsync(&p, 10006, NULL, NULL), driver.cuMemFreeAsync(p, NULL))
    EACH(driver.cuMemAllocFromPoolAsync_ptsz(&p, 10007, NULL, NULL), driver.cuMemFree_v2(p))
    EACH(driver.cuMemAllocHost_v2(&host, 10008), driver.cuMemFreeHost(host))
    EACH(driver.cuMemHostAlloc(&host, 10009, 0), driver.cuMemFreeHost(host))
    EACH(driver.cuMemHostRegister_v2(own, 10010, 0), driver.cuMemHostUnregister(own))
    CHECK(!driver.cuMemHostUnregister(own)); /* The last one would be replaced below. */
    EACH(driver.cuArrayCreate_v2(&host, &flat), driver.cuArrayDestroy(host)) /* 24000 */
    EACH(driver.cuArray3DCreate_v2(&host, &deep), driver.cuArrayDestroy(host)) /* 6000 */
    /* Alive while a handle or a mapping is. */
    CHECK(!driver.cuMemAddressReserve(&p, 4 << 20, 0, 0, 0));
    for (int round = 0; round <= ROUNDS; round++) {
        CHECK(!driver.cuMemCreate(&handle, 2 << 20, &on_device, 0));
        CHECK(!driver.cuMemMap(p, 2 << 20, 0, handle, 0));
        CHECK(!driver.cuMemMap(p + (2 << 20), 2 << 20, 0, handle, 0));
        CHECK(!driver.cuMemRelease(handle));
        CHECK(!driver.cuMemRetainAllocationHandle(&again, (void *)p) && again == handle);
        CHECK(!driver.cuMemUnmap(p, 4 << 20));
        if (round < ROUNDS) CHECK(!driver.cuMemRelease(again));
    }
    CHECK(!driver.cuMemAddressFree(p, 4 << 20));
}

static void exercise_runtime(void) {
    void *p;
    size_t pitch;
    cudaPitchedPtr pitched;
    cudaChannelFormatDesc floats = {32, 0, 0, 0, 2};
    static char pages[THREADS * 65536];
    static int taken;
    char *own = pages + 65536 * __atomic_fetch_add(&taken, 1, __ATOMIC_RELAXED);
    EACH(runtime.cudaMalloc(&p, 20001), runtime.cudaFree(p))
    EACH(runtime.cudaMallocPitch(&p, &pitch, 1000, 9), runtime.cudaFree(p)) /* 9216 */
    EACH(runtime.cudaMalloc3D(&pitched, (cudaExtent){1000, 3, 5}), runtime.cudaFree(pitched.ptr)) /* 15360 */
    EACH(runtime.cudaMallocManaged(&p, 20004, 1), runtime.cudaFree(p))
    EACH(runtime.cudaMallocAsync(&p, 20005, NULL), runtime.cudaFreeAsync(p, NULL))
    EACH(runtime.cudaMallocAsync_ptsz(&p, 20006, NULL), runtime.cudaFreeAsync_ptsz(p, NULL))
    EACH(runtime.cudaMallocFromPoolAsync(&p, 20007, NULL, NULL), runtime.cudaFreeAsync(p, NULL))
    EACH(runtime.cudaMallocFromPoolAsync_ptsz(&p, 20008, NULL, NULL), runtime.cudaFree(p))
    EACH(runtime.cudaMallocHost(&p, 20009), runtime.cudaFreeHost(p))
    EACH(runtime.cudaHostAlloc(&p, 20010, 0), runtime.cudaFreeHost(p))
    EACH(runtime.cudaHostRegister(own, 20011, 0), runtime.cudaHostUnregister(own))
    CHECK(!runtime.cudaHostUnregister(own));
    EACH(runtime.cudaMallocArray(&p, &floats, 50, 11, 0), runtime.cudaFreeArray(p)) /* 2200 */
    EACH(runtime.cudaMalloc3DArray(&p, &floats, ((cudaExtent){10, 10, 8}), 0), runtime.cudaFreeArray(p)) /* 3200 */
}

static void *thread(void *first) {
    void *p = NULL;
    exercise_driver();
    if (has_runtime) exercise_runtime();
    /* What one thread allocates, another frees. */
    if (first) {
        CHECK(!driver.cuMemAlloc_v2((uint64_t *)&p, 30001));
        while (!__sync_bool_compare_and_swap(&kept, NULL, p)) sched_yield();
    } else {
        while (!(p = __sync_lock_test_and_set(&kept, NULL))) sched_yield();
        CHECK(!driver.cuMemFree_v2((uintptr_t)p));
    }
    return NULL;
}

int main(int argc, char **argv) {
    CHECK(argc > 1);
    road = argv[1];
    find_all();
    CHECK(driver.cuMemFree_v2(12345) != 0); /* A free that fails is none. */
    pthread_t threads[THREADS];
    for (long at = 0; at < THREADS; at++) CHECK(!pthread_create(&threads[at], NULL, thread, (void *)(at & 1)));
    for (int at = 0; at < THREADS; at++) CHECK(!pthread_join(threads[at], NULL));
    size_t (*used)(int) = (size_t(*)(int))dlsym(libcuda, "fake_used");
    printf("device 0: %zu, device 1: %zu, host: %zu\n", used(0), used(1), used(-1));
    report_open_files();
    return 0;
}
