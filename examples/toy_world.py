"""A text and questions about a tiny world, drawn by chance, for `lexforge gpt chat` to answer.

    python examples/toy_world.py toy/
    lexforge gpt prepare toy/text.txt --out toy/data
    lexforge gpt train toy/data --out toy/model --max_iters 1500
    lexforge gpt finetune toy/pairs.jsonl --model toy/model/best --out toy/chat --eval-share 0.05
    lexforge gpt chat toy/chat/best --temperature 0

This is a toy. The model has 0.8 M parameters and reads characters; it learns who has which pet,
who lives where, and sums of two digits, and knows nothing else. Anything but the questions below,
in these very words, gets an answer that only looks like one, and letters that are in none of them
are refused. Some three minutes on two cores. At temperature 0 all its sums were right; at the usual
one it adds up wrongly about every third time.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

PEOPLE = ("Ann", "Ben", "Cleo", "Dan", "Eva", "Finn")
PETS = ("cat", "dog", "owl", "fox", "hen", "goat")
TOWNS = ("Bree", "Lund", "Oban", "Pisa", "Riga", "Troy")
LINES, QUESTIONS = 20_000, 4_000


def drawn(seed: int) -> tuple[list[str], list[dict[str, str]]]:
    """Statements, and questions with their answers."""
    chance = random.Random(seed)
    pets = dict(zip(PEOPLE, chance.sample(PETS, len(PETS)), strict=True))
    towns = dict(zip(PEOPLE, chance.sample(TOWNS, len(TOWNS)), strict=True))

    def statement() -> tuple[str, str, str]:
        """What is told, asked and answered."""
        kind, who = chance.randrange(3), chance.choice(PEOPLE)
        if kind == 0:
            answer = f"{who} has a {pets[who]}."
            return answer, f"What pet does {who} have?", answer
        if kind == 1:
            answer = f"{who} lives in {towns[who]}."
            return answer, f"Where does {who} live?", answer
        a, b = chance.randrange(10), chance.randrange(10)
        return f"{a} plus {b} is {a + b}.", f"What is {a} plus {b}?", f"It is {a + b}."

    lines = []
    for _ in range(LINES):
        told, asked, answer = statement()
        lines.append(told if chance.random() < 0.5 else f"User: {asked}\nAssistant: {answer}\n")
    asked = [statement()[1:] for _ in range(QUESTIONS)]
    return lines, [{"prompt": prompt, "answer": answer} for prompt, answer in asked]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    lines, pairs = drawn(options.seed)
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / "text.txt").write_text("".join(f"{line}\n" for line in lines))
    (options.folder / "pairs.jsonl").write_text("".join(f"{json.dumps(p)}\n" for p in pairs))


if __name__ == "__main__":
    main()
