"""JupyterHub: logs users in and starts a JupyterLab for each, as that user.

`make facility` fills in the words between @ signs. What a site changes is marked with SITE.
"""

import hmac
import json
import os
from pathlib import Path

from jupyterhub.auth import Authenticator

FOLDER = Path("@FOLDER@")  # SITE: /srv/jupyterhub
PASSWORDS = Path("@PASSWORDS@")
PYTHON = "@PYTHON@"  # SITE: the environment of the image that workers use
METRICS = json.loads('@METRICS@')  # the port on which the runs of each user are measured
KEPT = ("PATH", "LANG", "CONDOR_CONFIG", "EXTRA_CLING_ARGS")

c = get_config()  # noqa: F821


class PasswordFile(Authenticator):
    """Logs in the users of a file that only the hub can read, with a line ``NAME PASSWORD`` for each."""

    async def authenticate(self, handler, data):  # noqa: ARG002
        """Return the name, if the password is right."""
        known = dict(line.split() for line in PASSWORDS.read_text().splitlines())
        expected, given = known.get(data["username"], ""), data["password"]
        right = hmac.compare_digest(expected.encode(), given.encode())
        return data["username"] if expected and right else None


# SITE: the accounts of the machine (authenticator_class = "pam"), or those of the laboratory (oauthenticator).
c.JupyterHub.authenticator_class = PasswordFile
c.Authenticator.allowed_users = set(METRICS)

# SITE: the address of the machine, with c.JupyterHub.ssl_key and ssl_cert, or behind a server that has them.
c.JupyterHub.bind_url = "http://127.0.0.1:@HUB@"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:@API@"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:@ROUTES@"
# The proxy is a service of its own, as an ordinary user: notebooks stay connected while the hub starts again.
#   CONFIGPROXY_AUTH_TOKEN=... configurable-http-proxy --ip 127.0.0.1 --port @HUB@ --api-ip 127.0.0.1
#     --api-port @ROUTES@ --default-target http://127.0.0.1:@API@ --error-target http://127.0.0.1:@API@/hub/error
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.auth_token = (FOLDER / "proxy_token").read_text()
c.JupyterHub.cookie_secret_file = str(FOLDER / "cookie_secret")
c.JupyterHub.db_url = f"sqlite:///{FOLDER / 'hub.sqlite'}"
c.JupyterHub.authenticate_prometheus = False  # SITE: a token for Prometheus, if others reach the hub

# As root, every JupyterLab runs as its user; SITE: also systemdspawner, or kubespawner with an image.
c.JupyterHub.spawner_class = "localprocess" if os.geteuid() == 0 else "simple"
c.Spawner.cmd = [PYTHON, "-m", "jupyterhub.singleuser"]
c.Spawner.ip = "127.0.0.1"
c.Spawner.default_url = "/lab/tree/hnl.ipynb"
c.Spawner.http_timeout = c.Spawner.start_timeout = 180
c.Spawner.env_keep = list(KEPT)
c.Spawner.environment = {
    "PORTICO_ON": "facility",
    "PORTICO_ANALYSIS": "@ANALYSIS@",
    # The link to Dask's dashboard leads through the hub, which lets only the user pass.
    "DASK_DISTRIBUTED__DASHBOARD__LINK": "{JUPYTERHUB_SERVICE_PREFIX}proxy/{port}/status",
}
c.SimpleLocalProcessSpawner.home_dir_template = "@HOMES@/{username}"


async def add_port(spawner):
    """Tell a user the port on which Prometheus looks for a run: portico run --metrics-port $PORTICO_METRICS_PORT."""
    spawner.environment["PORTICO_METRICS_PORT"] = str(METRICS[spawner.user.name])


c.Spawner.pre_spawn_hook = add_port
