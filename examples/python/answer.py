"""Asks a model and streams its answer; Ctrl-C ends the answer, not the program.

python answer.py MODEL.ink "Write one sentence about tea." [--schema FILE] [--limit TOKENS] [--temp T --seed N]
"""

import argparse
import signal
import sys
from pathlib import Path

import inkstone


def main() -> int:
    arguments = parsed()
    with inkstone.Model(arguments.model) as model, model.session() as session:
        # The handler runs between two pieces; one that waits for a long step would call `cancel` from a thread.
        signal.signal(signal.SIGINT, lambda *_: session.cancel())
        session.sampling(temperature=arguments.temp, seed=arguments.seed)
        schema = arguments.schema.read_text() if arguments.schema else None
        options = {"limit": arguments.limit, "json_schema": schema}
        if model.has_template:
            answer = session.chat([{"role": "user", "content": arguments.prompt}], **options)
        else:
            answer = session.stream(arguments.prompt, **options)
        for text in answer:
            print(text, end="", flush=True)
        print()
        stats = answer.stats
        told = f"{answer.finish.name.lower()}: {stats.tokens} tokens, {stats.token_rate:.1f} a second"
        print(told, file=sys.stderr)
    return 130 if answer.finish == inkstone.Finish.CANCELLED else 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("prompt")
    parser.add_argument("--schema", type=Path, help="JSON Schema that the answer must be a document of")
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--temp", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except inkstone.InkstoneError as error:
        sys.exit(f"answer.py: {error}")
