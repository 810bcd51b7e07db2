"""What azure/login does with OpenID Connect: a token of GitHub for this job, then `az login`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import urllib.request
from pathlib import Path


def token(url: str) -> str:
    """The job's token, for the audience that Azure asks for."""
    bearer = f"Bearer {os.environ['ACTIONS_ID_TOKEN_REQUEST_TOKEN']}"
    audience = f"{url}&audience=api://AzureADTokenExchange"
    request = urllib.request.Request(audience, headers={"Authorization": bearer})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return str(json.load(answer)["value"])


def main() -> None:
    """Log in as the client of this job, in a new folder for the settings of az."""
    job = os.environ["JOB"]
    table = json.loads(os.environ["STAND_IN_IDENTITIES"])
    settings = tempfile.mkdtemp(dir=os.environ["STAND_IN_SETTINGS"])
    shutil.copy(Path(os.environ["AZURE_CONFIG_DIR"]) / "config", settings)
    environment = {**os.environ, "AZURE_CONFIG_DIR": settings}
    login = ["az", "login", "--service-principal", "--output", "none"]
    login += ["--username", table["clients"].get(job) or os.environ["CLIENT"]]
    login += ["--tenant", os.environ["TENANT"]]
    login += ["--federated-token", token(table["tokens"][job])]
    subprocess.run(login, check=True, env=environment)
    subscription = ["az", "account", "set", "--subscription", os.environ["SUBSCRIPTION"]]
    subprocess.run(subscription, check=True, env=environment)
    with Path(os.environ["GITHUB_ENV"]).open("a", encoding="utf-8") as file:
        file.write(f"AZURE_CONFIG_DIR={settings}\n")


if __name__ == "__main__":
    main()
