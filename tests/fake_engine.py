"""A program that speaks an engine's line protocol and computes nothing, for tests of host.py.

`say`: streams the opening a character at a time. `die`: exits. `hang`: never answers. `junk`: says
something that is not JSON.
"""

import json
import sys


def tell(*events: dict[str, object]) -> None:
    print(json.dumps({"events": events, "running": len(events), "kv": 0.5}), flush=True)


def answer(command: dict[str, object]) -> None:
    job, opening = command["id"], command.get("opening", "")
    match command["op"]:
        case "generate" if opening == "die":
            sys.exit("it fell over")
        case "generate" if opening == "junk":
            print("this is not JSON", flush=True)
        case "generate" if opening == "hang":
            pass
        case "generate":
            for letter in str(opening):
                tell({"id": job, "text": letter})
            usage = {"prompt_tokens": 1, "cached_tokens": 0, "completion_tokens": 3}
            tell({"id": job, "text": "", "finish": "stop", "usage": usage})
        case "decide":
            tell({"id": job, "error": "no such thing"})
        case "count":
            tell({"id": job, "counts": [CANCELLED]})
        case "cancel":
            cancelled(job)


CANCELLED = 0


def cancelled(job: object) -> None:
    global CANCELLED
    CANCELLED += 1


if __name__ == "__main__":
    if "--fail" in sys.argv:
        sys.exit("there is no such model")
    print(json.dumps({"ready": "fake"}), flush=True)
    for line in sys.stdin:
        answer(json.loads(line))
