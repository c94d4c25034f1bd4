"""Models that RooFit evaluates: parametric datacards, HS3 beyond HistFactory, and RooWorkspaces in ROOT files."""
