"""A page in a real browser: headless Chromium, driven by its own protocol. Tests that need one skip without it."""

import asyncio
import json
import os
import shutil
import subprocess

import pytest

aiohttp = pytest.importorskip("aiohttp", reason="aiohttp, which tritonclient brings, is not installed")

# Seconds for an answer; a whole test has three times that.
PATIENCE = 60
NAMES = "chromium", "chromium-browser", "google-chrome"
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason=f"none of {', '.join(NAMES)} is installed, nor in $CHROMIUM"
)


class Tab:
    """A page that was opened; evaluates JavaScript in it."""

    def __init__(self, socket):
        self.socket, self.number, self.events = socket, 0, []

    async def call(self, method, **parameters):
        self.number += 1
        await self.socket.send_json({"id": self.number, "method": method, "params": parameters})
        while True:
            message = json.loads((await self.socket.receive(PATIENCE)).data)
            if message.get("id") == self.number:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    async def evaluate(self, expression):
        result = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def wait_for(self, expression):
        while not await self.evaluate(expression):
            await asyncio.sleep(0.1)


def browse(url, folder, test):
    """Opens a page and runs a test on it."""

    async def whole():
        command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
        command += [f"--user-data-dir={folder}", "--window-size=900,600", "about:blank"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
            try:
                told = folder / "DevToolsActivePort"
                # The file is there before its first line is.
                while not told.exists() or "\n" not in told.read_text():
                    assert browser.poll() is None
                    await asyncio.sleep(0.1)
                port = told.read_text().split()[0]
                async with aiohttp.ClientSession() as session:
                    async with session.get(f"http://127.0.0.1:{port}/json") as listed:
                        (page,) = [each for each in await listed.json() if each["type"] == "page"]
                    async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                        tab = Tab(socket)
                        for domain in ("Runtime", "Network", "Log"):
                            await tab.call(f"{domain}.enable")
                        await tab.call("Page.navigate", url=url)
                        await tab.wait_for(f"location.href === '{url}' && document.readyState === 'complete'")
                        await test(tab)
            finally:
                browser.kill()

    asyncio.run(asyncio.wait_for(whole(), 3 * PATIENCE))
