#!/usr/bin/env python3
# on_terminal.py - runs a command on a terminal, and prints what it has written there, escapes in words
#
# SPDX-License-Identifier: MIT
#
# usage: on_terminal.py COLUMNS COMMAND...

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

ours, theirs = pty.openpty()
fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', 24, int(sys.argv[1]), 0, 0))
process = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL, stdout=theirs)
os.close(theirs)
text = b''
while True:
    try:
        piece = os.read(ours, 65536)
    except OSError:  # EIO: nobody has the terminal open any more
        break
    if not piece:
        break
    text += piece
sys.stdout.buffer.write(text.replace(b'\r\n', b'\n').replace(b'\x1b', b'^['))
sys.exit(process.wait())
