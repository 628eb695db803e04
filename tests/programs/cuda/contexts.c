/* Memory that ends with its context, and memory that does not: contexts. */
#include "../host.h"
#include "fake_cuda.h"

DRIVER_FUNCTIONS(DECLARED)
RUNTIME_FUNCTIONS(DECLARED)
size_t fake_used(int);

static void *free_elsewhere(void *p) {
    /* A thread without a context frees memory of another's. */
    CHECK(!cuMemFree_v2((uintptr_t)p));
    return NULL;
}

int main(void) {
    void *context, *primary, *p, *elsewhere;
    pthread_t thread;
    for (int round = 0; round < 20; round++) {
        /* The next context often has the address of the last. */
        CHECK(!cuCtxCreate_v2(&context, 0, 1));
        CHECK(!cuMemAlloc_v2((uint64_t *)&p, 10001));
        CHECK(!cuMemHostAlloc(&p, 10002, 0));
        CHECK(!cuMemAllocManaged((uint64_t *)&p, 10003, 1));
        CHECK(!cuMemAlloc_v2((uint64_t *)&elsewhere, 10004));
        CHECK(!pthread_create(&thread, NULL, free_elsewhere, elsewhere));
        CHECK(!pthread_join(thread, NULL));
        CHECK(!cuCtxDestroy_v2(context));
    }
    CHECK(!cuCtxCreate_v2(&context, 0, 1));
    CHECK(!cuMemAlloc_v2((uint64_t *)&p, 10005));
    CHECK(!cuDevicePrimaryCtxRetain(&primary, 1) && !cuDevicePrimaryCtxRetain(&primary, 1));
    CHECK(!cuCtxSetCurrent(primary));
    CHECK(!cuMemAlloc_v2((uint64_t *)&p, 10006));
    CHECK(!cuDevicePrimaryCtxRelease_v2(1)); /* Not the last. */
    CHECK(!cuMemAlloc_v2((uint64_t *)&p, 10007));
    printf("device 1 before: %zu\n", fake_used(1));
    CHECK(!cuDevicePrimaryCtxRelease_v2(1)); /* The context that was created lives. */
    printf("device 1 after: %zu\n", fake_used(1));
    CHECK(!cudaSetDevice(0) && !cudaMalloc(&p, 10008) && !cudaMallocHost(&p, 10009));
    CHECK(!cudaDeviceReset());
    CHECK(!cudaMalloc(&p, 10008));
    printf("device 0: %zu, device 1: %zu, host: %zu\n", fake_used(0), fake_used(1), fake_used(-1));
    report_open_files();
    return 0;
}
