"""A facility on one machine: JupyterHub, HTCondor, XRootD and Prometheus, with the configuration files in deploy/."""
