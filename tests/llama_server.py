"""llama.cpp's own server in a process of its own: prints where it listens, ends with its input."""

import sys

import xllamacpp


def main(weights: str, context: int, slots: int) -> None:
    params = xllamacpp.CommonParams()
    params.model.path = weights
    params.n_ctx = context * slots
    params.n_parallel = slots
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.endpoint_slots = True
    params.warmup = False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
