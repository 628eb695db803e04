"""PyTorch without its caching allocator: use_torch.py MARKER TIMES KEPT."""

import os
import sys

import torch

marker, times, keep = map(int, sys.argv[1:])
kept = [torch.empty(marker, dtype=torch.uint8, device="cuda") for _ in range(keep)]
for _ in range(times - keep):
    torch.empty(marker, dtype=torch.uint8, device="cuda")
torch.cuda.synchronize()
os._exit(0)  # What is kept is not freed by the interpreter's end.
