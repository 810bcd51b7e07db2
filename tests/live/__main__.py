"""`python -m tests.live --group NAME --out FILE`: put the questions to the subscription of `az`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from .azure import Azure, Json, Refused
from .questions import Asked, ask

IMAGE = "mcr.microsoft.com/azuredocs/aci-helloworld:latest"
MINUTES = 20.0


def document(region: str) -> Json:
    """A small container group with a public image."""
    size = {"cpu": 0.5, "memoryInGB": 0.5}
    container = {
        "image": IMAGE,
        "ports": [{"port": 80, "protocol": "TCP"}],
        "resources": {"requests": size},
        "environmentVariables": [{"name": "KEY", "secureValue": "not-a-secret"}],
    }
    return {
        "location": region,
        "properties": {
            "osType": "Linux",
            "restartPolicy": "Always",
            "ipAddress": {"type": "Public", "ports": [{"port": 80, "protocol": "TCP"}]},
            "containers": [{"name": "service", "properties": container}],
        },
    }


def main(arguments: list[str]) -> int:
    """Make the resource group, ask, delete it; 0 if every question was answered."""
    parser = argparse.ArgumentParser(prog="python -m tests.live", description=__doc__)
    parser.add_argument("--group", required=True, help="a resource group that does not exist yet")
    parser.add_argument("--region", default="westeurope")
    parser.add_argument("--out", required=True, type=Path, help="file for the answers, JSON")
    options = parser.parse_args(arguments)
    azure = Azure(os.environ, "", options.group)
    azure.subscription = str(azure.az("account", "show")["id"])
    if azure.az("group", "exists", "--name", options.group):
        print(f"error: the resource group {options.group} exists; name a new one", file=sys.stderr)
        return 2
    azure.az("group", "create", "--name", options.group, "--location", options.region)
    try:
        found = ask(Asked(azure, document(options.region)), 60 * MINUTES, print)
        options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    finally:
        try:
            azure.az("group", "delete", "--name", options.group, "--yes", "--no-wait")
        except Refused as error:
            print(f"error: delete the group {options.group} by hand: {error}", file=sys.stderr)
    return 0 if not any(":" in name for name in found["evidence"]) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
