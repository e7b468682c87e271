"""What a Python program asks of malloc: JSON text, dictionaries, lists of strings, sorting, large buffers.

python3 objects.py ROUNDS. Run by the driver with every allocator; checks its own results.
"""

import json
import sys


def one_round(seed):
    records = [{"id": i, "name": f"name-{(i * seed) % 9973}", "tags": [str(i % 7), "x" * (i % 300)],
                "payload": "p" * (600 + i % 900)} for i in range(6000)]
    text = json.dumps(records)
    again = json.loads(text)
    assert again == records
    by_name = {}
    for record in again:
        by_name.setdefault(record["name"], []).append(record)
    words = " ".join(sorted(by_name)).split(" ")
    buffers = [bytearray(n * 1024) for n in range(1, 200)]
    joined = b"".join(bytes(b) for b in buffers)
    return len(words) + len(joined)


def main():
    results = {one_round(7) for _ in range(int(sys.argv[1]))}
    assert len(results) == 1


main()
