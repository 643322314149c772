"""The same as busy.c."""

from time import thread_time


def spin(rounds):
    value = rounds
    for step in range(rounds):
        value = (value * 1664525 + step) & 0xFFFFFFFF
    return value


def hot_seventy(rounds):
    return spin(7 * rounds) ^ 7


def warm_thirty(rounds):
    return spin(3 * rounds) ^ 3


def work_loop(unit):
    hot = warm = said = 0.0
    random, result = 1, 0
    while True:
        random = (random * 1664525 + 1013904223) & 0xFFFFFFFF
        rounds = unit * (1 + (random >> 29))
        began = thread_time()
        result ^= hot_seventy(rounds)
        between = thread_time()
        result ^= warm_thirty(rounds)
        ended = thread_time()
        hot += between - began
        warm += ended - between
        if ended - said >= 0.25:
            said = ended
            print("truth", hot, warm, result & 1, flush=True)


def main():
    began = thread_time()
    spin(200_000)
    each = (thread_time() - began) / 200_000
    print("ready", flush=True)
    work_loop(max(1, round(0.0005 / 10 / each)))


main()
