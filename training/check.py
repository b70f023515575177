"""Checks files of cards and shows what examples they make: `python -m training.check training/cards/weather.toml`."""

from __future__ import annotations

import random
import sys
from collections import Counter
from pathlib import Path

from training.cards import CardError, load_domain
from training.expand import expand


def main(paths: list[str]) -> int:
    """Print errors and samples; return how many files are wrong."""
    wrong = 0
    for path in paths:
        try:
            domain = load_domain(Path(path))
            rng = random.Random(0)
            for card in domain.cards:
                for template in (*card.requests, *card.twice, *card.partial):
                    for _ in range(3):
                        made = expand(template, card.arguments, rng)
                    if rng.random() < 0.15:
                        print(f"  {made.text}\n      {card.name} {made.values}")
        except CardError as error:
            print(f"WRONG {error}")
            wrong += 1
            continue
        counts = Counter({"tools": len(domain.cards), "none": len(domain.none), "chains": len(domain.chains)})
        counts["requests"] = sum(len(card.requests) for card in domain.cards)
        print(f"{domain.name}: {dict(counts)}")
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
