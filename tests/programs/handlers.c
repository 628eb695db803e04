/* A signal handler allocates COUNT times while main is in `interrupted`. */
#include "host.h"
#include <signal.h>

NOINLINE void allocate_in_handler(void) { CHECK(malloc(10001)); }
static void handle(int signal) { (void)signal; allocate_in_handler(); }
NOINLINE void interrupted(void) { raise(SIGUSR1); }

int main(int argc, char **argv) {
    int count = atoi(argv[argc - 1]);
    struct sigaction action = {.sa_handler = handle};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    for (int i = 0; i < count; i++) interrupted();
    report_open_files();
    return 0;
}
