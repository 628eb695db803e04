/* Starts COUNT children in each way that runs no fork handlers, with blocks of its own before and after. */
#include "host.h"
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>

extern char **environ;

static void await(pid_t child) {
    int status;
    CHECK(child > 0 && waitpid(child, &status, __WALL) == child && status == 0);
}

static pid_t start(int how) {
    char *arguments[] = {"true", NULL};
    pid_t child = -1;
    switch (how) {
    case 0: /* vfork and exec */
        child = vfork();
        if (child == 0) {
            execv("/bin/true", arguments);
            _exit(98);
        }
        return child;
    case 1: /* vfork that ends at once: no handler of the parent's may run */
        child = vfork();
        if (child == 0) _exit(0);
        return child;
    case 2:
        CHECK(posix_spawn(&child, "/bin/true", NULL, NULL, arguments, environ) == 0);
        return child;
    case 3:
        child = _Fork();
        break;
    default:
        child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    }
    if (child == 0) {
        for (int i = 0; i < 10; i++) malloc(10003);
        _exit(0);
    }
    return child;
}

int main(int argc, char **argv) {
    int count = atoi(argv[argc - 1]);
    for (int i = 0; i < count; i++) {
        for (int how = 0; how < 5; how++) {
            CHECK(malloc(10001));
            pid_t child = start(how);
            free(malloc(10005));
            await(child);
        }
    }
    report_open_files();
    return 0;
}
