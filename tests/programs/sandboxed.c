/* Forbids itself all system calls but what it needs, with ACTION "errno" or "kill"; WHOM is "one" or "all" threads. */
#include "host.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>

static void *once(void *unused) {
    free(malloc(777));
    return unused;
}

static int lock_in(int kill_process, int all) {
    int allowed[] = {SYS_write, SYS_brk, SYS_exit_group, SYS_clock_nanosleep, SYS_fcntl, SYS_newfstatat};
    int count = sizeof allowed / sizeof *allowed, at = 0;
    struct sock_filter code[32];
    code[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int i = 0; i < count; i++)
        code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[i], count - i, 0);
    int action = kill_process ? SECCOMP_RET_KILL_PROCESS : SECCOMP_RET_ERRNO | EPERM;
    code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action);
    code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {at, code};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    if (all) return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    int all = !strcmp(argv[2], "all");
    free(malloc(777));
    if (all) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, once, NULL) == 0);
        pthread_join(thread, NULL);
    }
    printf("sandboxed\n");
    fflush(stdout);
    CHECK(lock_in(!strcmp(argv[1], "kill"), all) == 0);
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 2000; i++) {
            CHECK(malloc(1001));
            free(malloc(1003));
        }
        /* Longer than memory is read. */
        clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){.tv_nsec = 40000000}, NULL);
    }
    report_open_files();
    return 0;
}
