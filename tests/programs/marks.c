/* Calls the C interface if it is there. Says on stderr what it gave, which differs without the tracer. */
#include "host.h"

int main(void) {
    int (*mark)(const char *) = (int (*)(const char *))dlsym(RTLD_DEFAULT, "tftrace_mark");
    int (*flush)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "tftrace_flush");
    for (int i = 0; i < 10; i++) {
        malloc(10001);
        if (mark && mark("request") != 0) fprintf(stderr, "mark failed\n");
    }
    if (mark && mark(NULL) != -1) fprintf(stderr, "mark took NULL\n");
    if (flush && flush() != 0) fprintf(stderr, "flush failed\n");
    fprintf(stderr, "%s\n", mark && flush ? "marked" : "not traced");
    report_open_files();
    return 0;
}
