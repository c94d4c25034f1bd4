"""Directives of the site."""
