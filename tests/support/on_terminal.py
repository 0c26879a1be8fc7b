#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a command on a terminal of its own: on_terminal.py KEYS COMMAND...

Once the command has printed something, each of the KEYS ("Hi\\n\\x04": written as in Python) is typed.
Prints what the terminal showed, and ends with the command's exit code, or 124 after 60 seconds.
"""

import os
import pty
import select
import signal
import sys
import time


def converse(terminal, keys):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 1.0)[0]:
            continue
        try:
            shown = os.read(terminal, 65536)
        except OSError:  # the command closed its side
            return True
        sys.stdout.buffer.write(shown)
        if keys:
            time.sleep(0.3)  # nobody types faster than a command that asks begins to read
        os.write(terminal, keys)
        keys = b""
    return False


def main():
    keys = sys.argv[1].encode().decode("unicode_escape").encode()
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.argv[2], sys.argv[2:])
    ended = converse(terminal, keys)
    sys.stdout.flush()
    if not ended:
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    sys.exit(code if ended else 124)


if __name__ == "__main__":
    main()
