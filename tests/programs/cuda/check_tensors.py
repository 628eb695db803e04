"""What the report on keeps_tensors.py must say: check_tensors.py REPORT pool|cuda_malloc_async|out-of-memory."""

import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    report = json.load(file)
kind = sys.argv[2]
device = next(device for device in report["gpu"]["devices"] if device["number"] == 0)


def of_program(line):
    return bool(line) and line["file"].endswith("keeps_tensors.py")


if kind == "out-of-memory":
    card = report["gpu"]["out_of_memory"]
    holder = card["holders"][0]
    print(f"out of memory: {card['asked']} bytes by {card['your_line']} {card['op']}; first holder {holder}")
    assert card["device"] == 0 and card["asked"] == 400_000_000, card
    assert of_program(card["your_line"]) and of_program(holder["your_line"]), card
    assert holder["bytes"] >= 1_000_000_000, "what the loop kept"
    assert holder["op"], holder
else:
    leaks = [suspect for suspect in report["suspects"] if suspect["verdict"] == "leak"]
    mine = [suspect for suspect in leaks if suspect["domain"] == "cuda"]
    for suspect in leaks:
        rate = suspect["bytes_per_request"] and suspect["bytes_per_request"]["estimate"]
        print(f"{kind}: LEAK {suspect['domain']} {suspect['your_line']} {suspect['op']} {rate} bytes a request")
    assert len(mine) == 1, mine
    leak = mine[0]
    assert of_program(leak["your_line"]), leak["your_line"]
    assert "Add" in leak["op"], leak["op"]
    assert abs(leak["bytes_per_request"]["estimate"] - 200_000) < 10_000, leak["bytes_per_request"]
    assert report["verdict"] == "leak"
    # The tensors, and not the pool that they are in.
    assert leak["held_bytes"] < 100_000_000, leak["held_bytes"]
    if kind == "pool":
        assert device["taken"][-1] > 5_000_000_000 > device["used"][-1], (device["taken"][-1], device["used"][-1])
    assert any(frame["kind"] == "memory" and frame["function"] == "[device 0]" for frame in leak["stack"]), leak["stack"]
print(f"{kind}: as it must be")
