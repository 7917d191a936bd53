"""A real kubo node (from the PyPI package kubo-python, which ships it as a shared library) as a server of the public
DHT, for the tests.

    kubo.py LIBRARY REPO IP PORT

Prints "ready PEERID" when it runs, and runs until its standard input ends.
"""

import ctypes
import json
import os
import shutil
import sys

library, repo, ip, port = sys.argv[1:]
kubo = ctypes.CDLL(library)
kubo.GetNodeID.restype = ctypes.c_char_p
home = repo.encode()

shutil.rmtree(repo, ignore_errors=True)
os.makedirs(repo)
if kubo.CreateRepo(home) < 0:
    sys.exit("kubo cannot make its repository")
path = os.path.join(repo, "config")
with open(path, encoding="utf-8") as file:
    config = json.load(file)
config["Bootstrap"] = []
config["Discovery"]["MDNS"]["Enabled"] = False
config["Addresses"]["Swarm"] = [f"/ip4/{ip}/tcp/{port}", f"/ip4/{ip}/udp/{port}/quic-v1"]
config["Routing"]["Type"] = "dhtserver"
config["Swarm"]["DisableNatPortMap"] = True
config["Swarm"].setdefault("RelayClient", {})["Enabled"] = False
# It stands in for a server on the internet: nobody has to test that first.
config.setdefault("Internal", {})["Libp2pForceReachability"] = "public"
config["AutoNAT"] = {"ServiceMode": "disabled"}
with open(path, "w", encoding="utf-8") as file:
    json.dump(config, file)
if kubo.RunNode(home) < 0:
    sys.exit("kubo does not run")
print("ready", kubo.GetNodeID(home).decode(), flush=True)
sys.stdin.read()
os._exit(0)
