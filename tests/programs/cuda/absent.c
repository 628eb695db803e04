/* A program that looks whether CUDA is there, where it is not: absent. */
#include "../host.h"

extern int cudaMalloc(void **, size_t) __attribute__((weak));
static void look(const char *how, void *found) {
    const char *error = dlerror();
    printf("%s: %s, %s\n", how, found ? "found" : "null", error && strstr(error, "undefined symbol: cu") ? "undefined symbol" : error ? error : "no error");
}

int main(int argc, char **argv) {
    void *self = dlopen(NULL, RTLD_NOW), *other = dlopen("libm.so.6", RTLD_NOW);
    CHECK(self && other);
    const char *names[] = {"cudaMalloc", "cuMemAlloc_v2", "cuGetProcAddress_v2", "cuInit", "cu", "c"};
    for (size_t at = 0; at < sizeof names / sizeof *names; at++) {
        look("default", dlsym(RTLD_DEFAULT, names[at]));
        look("next", dlsym(RTLD_NEXT, names[at]));
        look("self", dlsym(self, names[at]));
        look("another", dlsym(other, names[at]));
        look("version", dlvsym(RTLD_DEFAULT, names[at], "libcudart.so.12"));
        look("version of another", dlvsym(other, names[at], "libcudart.so.12"));
        look("version behind", dlvsym(RTLD_NEXT, names[at], "libcudart.so.12"));
    }
    look("libm", dlsym(other, "cos"));
    char line[4096];
    int mapped = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps)) mapped |= strstr(line, "libcuda") != NULL;
    fclose(maps);
    printf("driver mapped %d\n", mapped);
    /* What a weak reference leads to is told from null only here. */
    void *p;
    if (argc > 1) fprintf(stderr, "weak %d\n", cudaMalloc ? cudaMalloc(&p, 10001) : -1);
    (void)argv;
    report_open_files();
    return 0;
}
