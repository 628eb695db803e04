/* Throws through frames that free what they hold, then allocates; the stack must be the new one. */
#include "host.h"
#include <memory>
#include <stdexcept>

NOINLINE void raise_below(int depth) {
    std::unique_ptr<char[]> held(new char[10001]);
    held[0] = 1;
    if (depth == 0) throw std::runtime_error("planned");
    raise_below(depth - 1);
}
NOINLINE void after_catch() { CHECK(malloc(20001)); }
NOINLINE void attempt(int depth) {
    try {
        raise_below(depth);
    } catch (const std::runtime_error &) {
        after_catch();
    }
}

int main(int argc, char **argv) {
    int count = atoi(argv[argc - 1]);
    for (int i = 0; i < count; i++) attempt(i % 10);
    report_open_files();
    return 0;
}
