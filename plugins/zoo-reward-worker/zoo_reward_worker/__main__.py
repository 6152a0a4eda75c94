"""`python -m zoo_reward_worker NAME --describe`, and what zoo starts: `... NAME --fd N`."""

import argparse
import json
import socket
import sys

from zoo_reward_worker.channel import Channel
from zoo_reward_worker.find import NotFoundError
from zoo_reward_worker.options import OptionError
from zoo_reward_worker.serve import description, end_with_parent, serve


def main() -> int:
    """Describes a reward, or serves it over an open socket; 2 is a mistake, said in a line."""
    parser = argparse.ArgumentParser(prog="python -m zoo_reward_worker", description=__doc__)
    parser.add_argument("name", help="a reward that a package in this environment registers")
    does = parser.add_mutually_exclusive_group(required=True)
    does.add_argument("--describe", action="store_true", help="print its options as JSON")
    does.add_argument("--fd", type=int, help="the socket that zoo opened for it")
    given = parser.parse_args()
    if given.fd is not None:
        end_with_parent()
        # The options come on stdin: a command line is seen by everyone on the machine.
        asked = json.load(sys.stdin)
        serve(
            Channel(socket.socket(fileno=given.fd)), given.name, asked["device"], asked["options"]
        )
        return 0
    try:
        print(json.dumps(description(given.name)))  # noqa: T201
    except (NotFoundError, OptionError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
