"""Starts workers as HOW says, each of which leaks 20 blocks of 10003 bytes; leaks 10 of 10001 before and after itself."""
import concurrent.futures
import ctypes
import multiprocessing
import os
import sys
import threading

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]


def leak(count, size):
    for _ in range(count):
        assert libc.malloc(size)


def work(number):
    leak(20, 10003)
    return number * number


def prefork(count):
    """As gunicorn does: a parent that forks its workers and waits for them."""
    workers = []
    for number in range(count):
        pid = os.fork()
        if pid == 0:
            thread = threading.Thread(target=work, args=(number,))
            thread.start()
            thread.join()
            os._exit(0)
        workers.append(pid)
    for pid in workers:
        assert os.waitpid(pid, 0)[1] == 0


def main():
    how, count = sys.argv[1], 3
    leak(10, 10001)
    if how == "prefork":
        prefork(count)
    else:
        context = multiprocessing.get_context(how)
        with concurrent.futures.ProcessPoolExecutor(count, mp_context=context) as pool:
            print(sorted(pool.map(work, range(count))))
    leak(10, 10001)
    print("open files", len(os.listdir("/proc/self/fd")) - 1 if how == "prefork" else "unknown")


if __name__ == "__main__":
    main()
