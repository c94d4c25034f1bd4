"""Real services for the tests: an ordinary user, its HTCondor and Slurm, XRootD servers and a slow link."""
