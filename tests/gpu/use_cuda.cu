// A CUDA C++ program: use_cuda MARKER TIMES KEPT.
#include <cstdio>
#include <cstdlib>
#include <unistd.h>

#include <cuda_runtime.h>

__global__ void touch(char *block) { block[threadIdx.x] = 1; }

int main(int, char **arguments) {
    size_t marker = strtoull(arguments[1], nullptr, 10);
    int times = atoi(arguments[2]), keep = atoi(arguments[3]);
    for (int at = 0; at < times; at++) {
        char *block;
        if (cudaMalloc(&block, marker) != cudaSuccess) return 1;
        touch<<<1, 64>>>(block);
        if (cudaDeviceSynchronize() != cudaSuccess) return 1;
        if (at >= keep && cudaFree(block) != cudaSuccess) return 1;
    }
    _exit(0);
}
