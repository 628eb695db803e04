/* Goes into an empty root directory, gives up its rights, and allocates in a second thread as well. */
#include "host.h"
#include <grp.h>
#include <sys/stat.h>

static void *work(void *unused) {
    for (int i = 0; i < 5000; i++) {
        CHECK(malloc(10001));
        free(malloc(10003));
    }
    return unused;
}

int main(void) {
    char place[] = "root-XXXXXX";
    CHECK(mkdtemp(place));
    if (chroot(place) != 0) return 77;
    CHECK(chdir("/") == 0 && setgroups(0, NULL) == 0);
    umask(0777);
    CHECK(setgid(65534) == 0 && setuid(65534) == 0);
    work(NULL);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, work, NULL) == 0);
    pthread_join(thread, NULL);
    report_open_files();
    return 0;
}
