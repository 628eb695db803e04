/* One thread makes a million blocks of 101 bytes, of which 100000 live at any time. Says on stderr how much of its
 * trace is resident, in kB. */
#include "host.h"

enum { BLOCKS = 1000000, WINDOW = 100000 };

static void *blocks[WINDOW];

int main(void) {
    for (int i = 0; i < BLOCKS; i++) {
        void **place = &blocks[i % WINDOW];
        free(*place);
        CHECK((*place = malloc(101)) != NULL);
    }
    char line[8192];
    int of_trace = 0, sum = 0, size;
    unsigned long start, end;
    FILE *maps = fopen("/proc/self/smaps", "r");
    CHECK(maps);
    while (fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2) of_trace = strstr(line, "trace.bin") != NULL;
        if (of_trace && sscanf(line, "Rss: %d kB", &size) == 1) sum += size;
    }
    fclose(maps);
    fprintf(stderr, "resident: %d kB\n", sum);
    report_open_files();
    return 0;
}
