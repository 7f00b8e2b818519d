"""Starts a program as a shell would: python start.py LARGEST_FILE COMMAND...

Signals act as usual, also where whoever started this has them ignored (nohup, `&`), and no file
grows beyond LARGEST_FILE bytes (0: no limit).
"""

import os
import resource
import signal
import sys

limit, *command = sys.argv[1:]
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
    signal.signal(number, signal.SIG_DFL)
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
os.execv(command[0], command)
