/* A library to be loaded and unloaded whose unwind tables take more than a megabyte. */
#include <stdlib.h>

__asm__(".text\n.rept 50000\n.cfi_startproc\nnop\n.cfi_endproc\n.endr\n");

#ifdef TEXT_RELOCATION
/* The loader has to write into what is read-only. */
__asm__(".text\n.quad entry_of_large\n");
#endif

int entry_of_large(int size) {
    void *block = malloc(size);
    return block != NULL;
}
