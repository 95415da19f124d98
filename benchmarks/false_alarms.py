"""How often Elementary's watch alarms while nothing is wrong: `python -m benchmarks.false_alarms [--days 60]`.

Ordinary business days of the demo source, weekends and months' ends among them, one after the other: each is loaded, built and
watched. Prints each day's alarms, and the number of all. With --after 30 the first load is 30 days later, so that two processes
can have a half each.
"""

import argparse
import os
from collections import Counter

from observability.incidents import demonstration


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.false_alarms", description=__doc__.partition(":")[0])
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--invoices", type=int, default=200_000)
    parser.add_argument("--after", type=int, default=0)
    options = parser.parse_args()
    alarms: Counter[str] = Counter()
    with demonstration(options.invoices, options.after) as demo:
        for number in range(options.days):
            day = demo.next(tell=False)
            alarms.update(day.warned)
            print(f"{number + 1:3} {day.day:%a %Y-%m-%d} {', '.join(day.warned) or '-'}  {day.seconds:.0f} s", flush=True)
    print(f"\n{sum(alarms.values())} false alarms on {options.days} ordinary days, engine {os.environ['ENGINE']}")
    for name, count in alarms.most_common():
        print(f"  {name}: {count}")


if __name__ == "__main__":
    main()
