/* Calls tftrace_flush, where it is to be had, from a signal handler that interrupts malloc and free. */
#include "host.h"
#include <signal.h>
#include <sys/time.h>

extern int tftrace_flush(void) __attribute__((weak));
static volatile sig_atomic_t calls;

static void handler(int number) {
    (void)number;
    if (tftrace_flush) tftrace_flush();
    calls++;
}

int main(void) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    struct itimerval every = {{0, 2000}, {0, 2000}};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0 && setitimer(ITIMER_REAL, &every, NULL) == 0);
    while (calls < 300) {
        void *blocks[32];
        for (int i = 0; i < 32; i++) blocks[i] = malloc(100 + 200 * i);
        for (int i = 0; i < 32; i++) free(blocks[i]);
    }
    struct itimerval never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &never, NULL);
    malloc(10001);
    report_open_files();
    return 0;
}
