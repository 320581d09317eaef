"""Load a server as a class does, with a few who attack it, and say how long they waited: `make soak`.

Visitors talk Streamlit's protocol, two more use a real browser. Each click's exact numbers are compared with Python's.
In the middle the server is killed and started again, and for a while no file on its disk may grow. It prints how long
clicks, pages and prompts took, the server's memory all along, and what went wrong; at the end all have left.

    python -m tests.soak --minutes 10 --visitors 15 --browsers 2
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil
from browser_app import ROOT, free_port, wait_for
from protocol_client import Client, component
from server_process import MEGABYTE
from soak_visitors import Person, Seen, Truth, browse

from inspector.model.memory import MEMORY_VARIABLE
from inspector.ui.server import launch
from inspector.ui.server.sessions import GRACE_SECONDS
from inspector.ui.server.settings import MODELS_VARIABLE

NOW = partial(print, flush=True)
PATIENCE = 120  # seconds that it goes on at most for the least number of clicks


class Server:
    """The server under load: it can be killed and started again at the same address."""

    def __init__(self, models: list[str], memory_gb: float, temporary: Path, says: Path) -> None:
        self.port, self.says = free_port(), says
        self.address = f"http://localhost:{self.port}"
        told = {MODELS_VARIABLE: json.dumps(models), MEMORY_VARIABLE: str(memory_gb), "TMPDIR": str(temporary)}
        self.environment = {**os.environ, **launch.FOR_MANY, **told}
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        module = "inspector.ui.server.streamlit_process"
        command = [sys.executable, "-m", module, "run", "app.py", f"--server.port={self.port}"]
        with self.says.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=log, stderr=log)
        self.seen_from_outside = psutil.Process(self.process.pid)
        wait_for(self.process, self.address)

    def kill(self) -> None:
        """Kill it as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(20)

    def resident(self) -> int:
        """Resident bytes; 0 while it is down."""
        with suppress(OSError):
            for line in Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8").splitlines():
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        return 0

    def cores(self) -> float:
        """How many cores it has used since the last look; 0 while it is down."""
        with suppress(psutil.Error):
            return self.seen_from_outside.cpu_percent() / 100
        return 0

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """No file that it writes may grow beyond 1000 bytes."""
        before = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (1000, before[1]))
        try:
            yield
        finally:
            resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, before)


def soak(
    *,
    name: str,
    minutes: float,
    visitors: int,
    browsers: int = 0,
    memory_gb: float = 2.0,
    pause: float = 2.0,
    prompts: int = 30,
    settle: float = GRACE_SECONDS + 5,
    least: int = 0,
    faults: bool = True,
    say: Callable[[str], object] = NOW,
) -> tuple[Seen, dict[str, int]]:
    """Run it; what was seen, and the server's memory in bytes: idle, at most, and after all have left. settle: seconds
    after which what nobody uses has left memory; least: clicks that it goes on for, on a slow machine; faults: fill the
    disk and kill the server in between."""
    seen, stop, truth = Seen(), threading.Event(), Truth(name, prompts)
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / "temporary"
        temporary.mkdir()
        server = Server([name], memory_gb, temporary, Path(folder) / "output")
        began = time.monotonic()
        try:
            first = Client(server.address)  # the model is loaded
            reader = component(first.run(), "tab_reader")
            first.run(said={"request": {"prompt": truth.prompts[0]}}, by=reader, event="said")
            first.close()
            time.sleep(settle)
            idle = server.resident()
            people = [Person(number, server.address, truth, seen, pause) for number in range(visitors)]
            threads = [threading.Thread(target=person.run, args=(stop,)) for person in people]
            threads += [
                threading.Thread(target=browse, args=(n, server.address, truth, seen, stop)) for n in range(browsers)
            ]
            for thread in threads:
                thread.start()
            start, length = time.monotonic(), 60 * minutes
            plan: list[tuple[float, str]] = [(0.3, "full"), (0.4, "room again"), (0.5, "kill")] if faults else []
            full = server.full_disk()
            while (now := time.monotonic() - start) < length or (
                seen.counts["click"] < least and now < length + PATIENCE
            ):
                seen.memory.append((now, server.resident()))
                seen.cores.append((server.cores(), psutil.cpu_percent() / 100 * (psutil.cpu_count() or 1)))
                if plan and now > plan[0][0] * length:
                    what = plan.pop(0)[1]
                    say(f"{now:5.0f} s: {what}")
                    if what == "full":
                        full.__enter__()
                    elif what == "room again":
                        full.__exit__(None, None, None)
                    else:
                        seen.killed = time.monotonic()
                        server.kill()
                        server.start()
                if len(seen.memory) % 60 == 0:
                    done = sum(seen.counts.values())
                    say(f"{now:5.0f} s: {seen.memory[-1][1] / MEGABYTE:,.0f} MB, {done} things done")
                time.sleep(0.5)
            stop.set()
            for thread in threads:
                thread.join(180)
            say(f"{time.monotonic() - start:5.0f} s: all have left, {server.resident() / MEGABYTE:,.0f} MB")
            time.sleep(settle)
            memory = {"idle": idle, "most": max(each for _, each in seen.memory), "after": server.resident()}
            log = server.says.read_text(encoding="utf-8", errors="replace")
            seen.wrong += [
                " ".join(found.split()) for found in re.findall(r"(?:Traceback|Unforeseen).*\n(?: .*\n)*", log)
            ]
        finally:
            server.process.terminate()
            server.process.wait(30)
    say(f"{time.monotonic() - began:.0f} s, {visitors} visitors, {browsers} browsers, --memory-gb {memory_gb:g}")
    return seen, memory


def report(seen: Seen, memory: dict[str, int]) -> str:
    """Write what was seen."""
    lines = [*seen.rows(), ", ".join(f"{count} × {what}" for what, count in sorted(seen.counts.items()))]
    middle = statistics.median(each for _, each in seen.memory)
    idle, middle, most, after = (each / MEGABYTE for each in (memory["idle"], middle, memory["most"], memory["after"]))
    lines.append(
        f"memory: idle {idle:,.0f} MB, median {middle:,.0f}, most {most:,.0f}, after all had left {after:,.0f}"
    )
    own, everybodys = (statistics.mean(each) for each in zip(*seen.cores, strict=True))
    lines.append(f"cores: the server used {own:.2f} on average, everything on this machine {everybodys:.2f}")
    lines.append(f"wrong: {len(seen.wrong)}")
    return "\n".join(
        [*lines, *(f"  {count} × {said[:100]}…{said[-300:]}" for said, count in Counter(seen.wrong).most_common(20))]
    )


def main() -> int:
    """Run it as told; 1 where something went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--visitors", type=int, default=15)
    parser.add_argument("--browsers", type=int, default=2)
    parser.add_argument("--memory-gb", type=float, default=2.0)
    parser.add_argument("--no-faults", action="store_true")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    told = parser.parse_args()
    seen, memory = soak(
        name=told.model,
        minutes=told.minutes,
        visitors=told.visitors,
        browsers=told.browsers,
        memory_gb=told.memory_gb,
        faults=not told.no_faults,
    )
    print(report(seen, memory), flush=True)
    return int(bool(seen.wrong))


if __name__ == "__main__":
    sys.exit(main())
