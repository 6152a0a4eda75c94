"""`zoo watch`: a live page of runs, on this machine alone unless another host is named."""

from pathlib import Path

from zoo.cli.listen import LOOPBACK, listen, require_packages, serve_until_interrupted
from zoo.errors import UserError
from zoo.terminal import say
from zoo.watch.pages import overview
from zoo.watch.runs import Runs
from zoo.watch.server import Watching, application


def watch(root: Path, host: str, port: int, *, control: bool) -> None:
    """Serves the page until Ctrl-C.

    Raises:
        UserError: there is no such folder, a package is missing, or the address cannot be used.
    """
    require_packages("zoo watch")
    if control and host not in LOOPBACK:
        raise UserError(
            f"--control: anybody who reaches --host {host} could stop runs; leave one of them out"
        )
    watching = Watching(Runs(root), control, hosts=() if host in LOOPBACK else ("*",))
    listening = listen(host, port)
    # What reads runs and draws is loaded, and all are read once: the first page is there at once.
    overview(watching.runs.all(), (), "reward", "")
    named = f"[{host}]" if ":" in host else host
    say(f"watching {root} at http://{named}:{listening.getsockname()[1]}; Ctrl-C ends it")
    serve_until_interrupted(application(watching), listening)
    say("ended")
