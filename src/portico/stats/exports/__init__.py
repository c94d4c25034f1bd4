"""Exports of models and counts for other tools: pyhf, CMS Combine, RooFit, HS3, HEPData."""
