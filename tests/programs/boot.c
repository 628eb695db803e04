/* Allocates before main and after it: .preinit_array, constructors, ifunc resolvers, atexit, destructors. */
#include "host.h"

static void early(void) { free(malloc(10001)); malloc(10003); }
__attribute__((section(".preinit_array"), used)) static void (*preinit)(void) = early;

__attribute__((constructor)) static void construct(void) { malloc(10005); }
__attribute__((destructor)) static void destruct(void) { malloc(10007); }
static void at_exit(void) { free(malloc(10009)); malloc(10009); }

static int one(void) { return 1; }
/* A resolver runs while the program is being relocated: it may not call out. */
static int (*resolve(void))(void) { return one; }
int chosen(void) __attribute__((ifunc("resolve")));

int main(void) {
    CHECK(chosen() == 1);
    CHECK(atexit(at_exit) == 0);
    /* A failing dlsym allocates its message, with the loader's own calloc. */
    CHECK(dlsym(RTLD_DEFAULT, "no_such_function") == NULL && dlerror() != NULL);
    malloc(10011);
    report_open_files();
    return 0;
}
