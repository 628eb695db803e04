/* The rest of a CUDA runtime that TensorFlow needs: included behind fake_libcudart.c. */
#include "fake_libcudart.c"
#include <string.h>

static char thing;

cudaError_t cudaRuntimeGetVersion(int *version) { *version = 12050; return 0; }
cudaError_t cudaDriverGetVersion(int *version) { *version = 12080; return 0; }
const char *cudaGetErrorString(cudaError_t error) { return error ? "fake error" : "no error"; }
const char *cudaGetErrorName(cudaError_t error) { return cudaGetErrorString(error); }
cudaError_t cudaStreamCreate(void **stream) { *stream = &thing; return 0; }
cudaError_t cudaStreamCreateWithFlags(void **stream, unsigned flags) { (void)flags; return cudaStreamCreate(stream); }
cudaError_t cudaEventCreateWithFlags(void **event, unsigned flags) { (void)flags; return cudaStreamCreate(event); }
cudaError_t cudaFuncGetAttributes(void *attributes, const void *function) { (void)function; memset(attributes, 0, 64); return 0; }
cudaError_t cudaGetFuncBySymbol(void **function, const void *symbol) { *function = (void *)symbol; return 0; }
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *n, const void *f, int t, size_t s) {
    (void)f, (void)t, (void)s;
    *n = 2;
    return 0;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *n, const void *f, int t, size_t s, unsigned flags) {
    (void)flags;
    return cudaOccupancyMaxActiveBlocksPerMultiprocessor(n, f, t, s);
}
cudaError_t cudaOccupancyMaxPotentialBlockSize(int *grid, int *block, const void *f, size_t s, int limit) {
    (void)f, (void)s, (void)limit;
    *grid = 108, *block = 256;
    return 0;
}
cudaError_t cudaDeviceGetAttribute(int *value, int attribute, int number) { return CALL("cuDeviceGetAttribute", value, attribute, number); }
/* Eigen divides by what it finds there: every number is 1024. */
cudaError_t cudaGetDeviceProperties_v2(int *properties, int number) {
    (void)number;
    memset(properties, 0, 256);
    for (int word = 64; word < 258; word++) properties[word] = 1024;
    return 0;
}
cudaError_t cudaGetDeviceProperties(int *properties, int number) { return cudaGetDeviceProperties_v2(properties, number); }
cudaError_t cudaMemcpy(void *to, const void *from, size_t n, int kind) { (void)kind; memcpy(to, from, n); return 0; }
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, int kind, void *s) { (void)s; return cudaMemcpy(to, from, n, kind); }
cudaError_t cudaMemset(void *p, int value, size_t n) { memset(p, value, n); return 0; }
void **__cudaRegisterFatBinary(void *binary) { (void)binary; static void *handle[4]; return handle; }
unsigned __cudaPushCallConfiguration(void) { return 0; }
