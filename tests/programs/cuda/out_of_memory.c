/* Two places hold a device of FAKE_CUDA_BYTES until a third finds no room: out_of_memory. */
#include "../host.h"
#include "fake_cuda.h"

RUNTIME_FUNCTIONS(DECLARED)
DRIVER_FUNCTIONS(DECLARED)

static NOINLINE void *weights(void) {
    void *p;
    CHECK(!cudaMalloc(&p, 6000001));
    return p;
}
static NOINLINE void *activations(void) {
    void *p;
    CHECK(!cudaMalloc(&p, 3000001));
    return p;
}
static NOINLINE int gradients(void) {
    void *p;
    return cudaMalloc(&p, 2000001);
}

int main(void) {
    void *first = weights();
    activations();
    CHECK(cudaMalloc(&first, 0) != 0); /* Wrong, but not for want of memory. */
    printf("error %d\n", gradients());
    allocation_properties on_device = {.type = 1, .location = 1, .number = 0};
    uint64_t handle;
    printf("error %d\n", cuMemCreate(&handle, 4000001, &on_device, 0));
    report_open_files();
    return 0;
}
