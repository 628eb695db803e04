/* What the traced programs share. Each ends by printing how many files it has open. */
#ifndef HOST_H
#define HOST_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))
/* Keeps the compiler from knowing a value. */
#define OPAQUE(value) __asm__ volatile("" : "+r"(value))
#define CHECK(condition)                                                        \
    do {                                                                        \
        if (!(condition)) {                                                     \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);     \
            _exit(99);                                                          \
        }                                                                       \
    } while (0)

static inline void report_open_files(void) {
    int open_files = 0;
    for (int fd = 0; fd < 1024; fd++) open_files += fcntl(fd, F_GETFD) != -1;
    printf("open files %d\n", open_files);
    fflush(stdout);
}
#endif
