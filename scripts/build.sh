#!/bin/sh
# Builds tftrace for use: the launcher, the library beside it, and the analyzer; prints their directory.
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
place=$target/dist

# The library alone, with a profile of its own: features of the other packages must not reach it.
cargo build --quiet --profile preload -p tftrace-tracer
cargo build --quiet --release -p tftrace --bin tftrace
cargo build --quiet --release -p tftrace-analyzer
mkdir -p "$place"
for built in "$target/preload/libtftrace.so" "$target/release/tftrace" "$target/release/tftrace-analyze"; do
    # By renaming: a program that still has the old file open keeps it.
    cp "$built" "$place/new.$$"
    mv "$place/new.$$" "$place/$(basename "$built")"
done
cd "$place" && pwd
