"""Scores pairs of raw 16 kHz s16le files, named on standard input by "reference<TAB>degraded", with PESQ wideband
(ITU-T P.862.2). A line of output for each: the score, or "none" where there is no speech to compare."""
import os
import sys

import numpy
from pesq import pesq

os.nice(10)
for line in sys.stdin:
    reference, degraded = (numpy.fromfile(name, dtype="<i2") for name in line.rstrip("\n").split("\t"))
    try:
        print(pesq(16000, reference, degraded, "wb"), flush=True)
    except Exception:
        print("none", flush=True)
