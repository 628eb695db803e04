// For every letter on stdin: allocates blocks of a size of its own, frees them if it is upper case.
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { BLOCKS = 50 };

int main(void)
{
    static void *kept[26][BLOCKS];
    char letter;
    while (read(0, &letter, 1) == 1) {
        int upper = letter >= 'A' && letter <= 'Z';
        int index = letter - (upper ? 'A' : 'a');
        for (int i = 0; i < BLOCKS; i++) {
            if (upper) {
                free(kept[index][i]);
            } else {
                kept[index][i] = malloc(10001 + 1000 * index);
            }
        }
        if (write(1, &letter, 1) != 1) {
            return 1;
        }
    }
    return 0;
}
