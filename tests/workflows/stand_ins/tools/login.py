"""What azure/login does with OpenID Connect: a token of GitHub for this job, then `az login`."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.parse
import urllib.request


def main() -> None:
    """Log in as the client of this job; az prints nothing on success."""
    job = os.environ["JOB"]
    table = json.loads(os.environ["STAND_IN_IDENTITIES"])
    client = table["clients"].get(job, os.environ["CLIENT"])
    query = {"audience": "api://AzureADTokenExchange", "subject": table["subjects"][job]}
    url = f"{os.environ['ACTIONS_ID_TOKEN_REQUEST_URL']}&{urllib.parse.urlencode(query)}"
    bearer = f"Bearer {os.environ['ACTIONS_ID_TOKEN_REQUEST_TOKEN']}"
    request = urllib.request.Request(url, headers={"Authorization": bearer})
    with urllib.request.urlopen(request, timeout=20) as answer:
        token = json.load(answer)["value"]
    login = ["az", "login", "--service-principal", "--output", "none", "--username", client]
    login += ["--tenant", os.environ["TENANT"], "--federated-token", token]
    subprocess.run(login, check=True)
    subscription = ["az", "account", "set", "--subscription", os.environ["SUBSCRIPTION"]]
    subprocess.run(subscription, check=True)


if __name__ == "__main__":
    main()
