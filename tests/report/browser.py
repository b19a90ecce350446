"""A headless Chromium driven through its own pipe: what a page says, asks for and looks like."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --remote-debugging-pipe --hide-scrollbars"
)


class Browser:
    """One page.

    Attributes:
        events: all that the browser told, as the DevTools protocol has it.
    """

    def __init__(self, profile: Path) -> None:
        to_child, self.write = os.pipe()
        self.read, from_child = os.pipe()
        self.events: list[dict[str, Any]] = []
        self.number, self.rest = 0, b""

        def fds() -> None:  # the browser reads at 3 and writes at 4
            first, second = os.dup(to_child), os.dup(from_child)
            os.dup2(first, 3)
            os.dup2(second, 4)

        command = [str(PROGRAM), *FLAGS.split(), f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen(command, preexec_fn=fds, close_fds=False, start_new_session=True,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        os.close(to_child)
        os.close(from_child)
        self.session = ""
        targets = self.ask("Target.getTargets")["targetInfos"]
        target = next(item["targetId"] for item in targets if item["type"] == "page")
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> Any:
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while True:
            found = self.next()
            if found.get("id") == self.number:
                assert "error" not in found, found
                return found["result"]

    def next(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            content = os.read(self.read, 2**20)
            assert content, "the browser ended"
            self.rest += content
        line, _, self.rest = self.rest.partition(b"\0")
        found: dict[str, Any] = json.loads(line)
        if "method" in found:
            self.events.append(found)
        return found

    def open(self, path: Path, width: int, height: int, dark: bool = False) -> None:
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[feature])
        self.events.clear()
        self.ask("Page.navigate", url=path.resolve().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.next()

    def evaluate(self, expression: str) -> Any:
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)["result"].get(
            "value"
        )

    def complaints(self) -> list[str]:
        """Errors and warnings of console, security policy and scripts; dialogs."""
        loud = {"Runtime.exceptionThrown", "Page.javascriptDialogOpening"}
        found = [event for event in self.events if event["method"] in loud]
        found += [event for event in self.events if event["method"] == "Log.entryAdded"]
        found += [event for event in self.events if event["method"] == "Runtime.consoleAPICalled"]
        return [json.dumps(event["params"])[:500] for event in found]

    def requests(self) -> list[str]:
        urls = [
            event["params"]["request"]["url"] for event in self.events if event["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in urls if not url.startswith(("data:", "blob:"))]

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self.read)
        os.close(self.write)
