/* A library to be loaded and unloaded. ENTRY names its one function. */
#include <stdlib.h>

int ENTRY(int size) {
    void *block = malloc(size);
    return block != NULL;
}
