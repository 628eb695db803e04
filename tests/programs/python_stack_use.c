/* Called by Python: how much stack an allocation takes where Python functions are on it. See python_stack_use.py. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { BYTES = 48 << 10, PAINT = 0x5A };
#define NOINLINE __attribute__((noinline))

void *PyMem_Malloc(size_t), *PyObject_Malloc(size_t);
void PyMem_Free(void *), PyObject_Free(void *);

static void *volatile kept;
static uintptr_t entered;

static NOINLINE void call(int kind) {
    char here;
    entered = (uintptr_t)&here;
    switch (kind) {
    case 0: kept = malloc(10001); break;
    case 1: kept = realloc(kept, 10003); break;
    case 2: free(kept); break;
    case 3: kept = PyMem_Malloc(50); break;
    case 4: PyMem_Free(kept); break;
    case 5: kept = PyObject_Malloc(5003); break;
    case 6: PyObject_Free(kept); break;
    }
}

/* Paints what will be below the call, and gives its lowest place. */
static NOINLINE volatile unsigned char *paint(void) {
    volatile unsigned char place[BYTES];
    for (int i = 0; i < BYTES; i++) place[i] = PAINT;
    volatile unsigned char *volatile lowest = place;
    return lowest;
}

/* Bytes of stack that a call of this kind takes below the function that calls it. */
long stack_of(int kind) {
    volatile unsigned char *lowest = paint();
    call(kind);
    /* What stood at the lowest places may be the frame of paint() itself; BYTES is far more than any call takes. */
    while (*lowest == PAINT) lowest++;
    return (long)(entered - (uintptr_t)lowest);
}
