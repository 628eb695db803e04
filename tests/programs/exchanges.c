/* Four threads put blocks into places that they share, until killed: nearly every block is freed by another thread, soon after. */
#include "host.h"
#include <stdatomic.h>

enum { PLACES = 1000 };
static _Atomic(void *) places[PLACES];

static void *exchange(void *seed) {
    uint64_t state = (uintptr_t)seed;
    for (unsigned count = 1;; count++) {
        if (count % 200 == 0) usleep(10000);
        state = state * 6364136223846793005u + 1442695040888963407u;
        void *block = malloc(100 + (state >> 60));
        CHECK(block);
        free(atomic_exchange(&places[(state >> 33) % PLACES], block));
    }
}

int main(void) {
    pthread_t id;
    for (uintptr_t i = 1; i < 4; i++) CHECK(pthread_create(&id, NULL, exchange, (void *)i) == 0);
    exchange((void *)4);
}
