"""A whole facility on one machine: JupyterHub, HTCondor, XRootD, Prometheus, with the configuration files in deploy/."""
