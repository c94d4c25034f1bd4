"""The programs that are compared, each as its own users would write it.

A module is a contender: its class ``Contender`` takes the input, the number of cores and a folder of its own, and has a
method per query, which returns the contents of the histograms with those of the flow bins, and ``close``.
With ``IS_READY`` the time of the first query begins when
the contender has been made, because a user finds the cluster there; otherwise with the start of the process.
"""
